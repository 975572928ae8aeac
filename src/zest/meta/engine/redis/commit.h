// A commit as one call of the commit script.
#pragma once

#include <vector>

#include "zest/base/result.h"
#include "zest/format/redis_key.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/redis/client.h"

namespace zest::meta::redis {

struct EncodedCommit {
  ScriptCall call;
  /// The n-th condition of the script is about the n-th key.
  std::vector<Key> conditions;
};

/// Errors: misuse (Fault::bug); a conflict that shows without asking the server (an update of a
/// node that the same commit erased).
Result<EncodedCommit> encode_commit(RedisKeys const& keys, Commit const& commit);

}  // namespace zest::meta::redis

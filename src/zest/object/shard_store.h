// Several buckets that look like one (format/00 §1.3).
#pragma once

#include <memory>
#include <vector>

#include "zest/object/store.h"

namespace zest {

/// Spreads keys over `stores` (at least one, in the order of their numbers) by a hash of the whole
/// key: the volume's `{Name}/` has to be in it, so a prefix store goes around this one. Listings
/// merge all shards in the order of keys; they hold about as many entries as the page has. There
/// are no copies (ENOTSUP): two keys are seldom in one bucket.
std::unique_ptr<ObjectStore> make_shard_store(std::vector<std::unique_ptr<ObjectStore>> stores);

}  // namespace zest

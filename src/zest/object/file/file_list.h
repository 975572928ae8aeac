// Pages of object keys from a directory tree, in the byte order of keys. Internal to file/.
#pragma once

#include <stop_token>
#include <string>

#include "zest/base/result.h"
#include "zest/object/store.h"

namespace zest::file_store {

/// One page of the objects below `root` (which ends with '/'). Blocks: pool threads only.
///
/// Memory is bounded by the page and by a batch of names a directory level, whatever the
/// directories hold. A missing root is an empty page. Errors: EINTR when stopped, what the file
/// calls return otherwise.
Result<ObjectPage> list_tree(std::string const& root, ListObjects const& request,
                             std::stop_token const& stop);

}  // namespace zest::file_store

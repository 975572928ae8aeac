// A part of a store that looks like a whole one: every key gets a prefix, `{Name}/` for a volume.
#pragma once

#include <memory>
#include <string>

#include "zest/object/store.h"

namespace zest {

/// Wraps `store`, which it owns. Keys of requests and listings are without `prefix`; the prefix
/// usually ends with '/'.
std::unique_ptr<ObjectStore> make_prefix_store(std::unique_ptr<ObjectStore> store,
                                               std::string prefix);

}  // namespace zest

// A store whose objects are encrypted before they leave, and checked when they come back.
#pragma once

#include <memory>

#include "zest/object/encrypt/sealer.h"
#include "zest/object/store.h"
#include "zest/runtime/pool.h"

namespace zest {

/// Wraps `store`, which it owns; `pool` does the arithmetic and outlives it.
///
/// Every get reads and checks the whole object, whatever range is asked for: one more copy of it
/// is in memory meanwhile, as with put. An object that does not decrypt is EIO (corrupt) with its
/// key in the message. Sizes in head() and list() are those of the stored bytes. The format has no
/// empty encrypted objects: putting one is EINVAL. Multipart uploads are not possible.
std::unique_ptr<ObjectStore> make_encrypt_store(std::unique_ptr<ObjectStore> store,
                                                std::unique_ptr<Sealer> sealer, BlockingPool& pool);

}  // namespace zest

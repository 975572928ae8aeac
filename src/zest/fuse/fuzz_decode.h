// Hostile bytes into the request decoder: one function for libFuzzer and for the unit test.
#pragma once

#include "zest/base/bytes.h"

namespace zest::fuse {

/// Takes `bytes` for a request, from /dev/fuse or (by the first byte) an io_uring entry, decodes it
/// and touches everything that the result refers to. Never fails; a fault shows under a sanitizer
/// or as a view outside of the input, which aborts.
void fuzz_decode(ByteView bytes);

}  // namespace zest::fuse

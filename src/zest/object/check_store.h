// What format and mount ask of a store before they trust it.
#pragma once

#include <cstdint>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/object/store.h"

namespace zest {

enum class MissingBucket : std::uint8_t {
  create,  ///< `format`: make it when the first put fails
  fail,    ///< `mount`: the bucket must be there (an unmounted disk is an error, not a new bucket)
};

/// Writes 100 random bytes under a random `testing/` key, reads them back, compares and deletes
/// them (format/00 §5.3). `store` is the volume's (with its `{Name}/`). Three tries. The error
/// starts with "bucket X is not writable" (or readable) and says why.
Result<void> check_store(Context const& ctx, ObjectStore& store, Rng& rng,
                         MissingBucket missing_bucket = MissingBucket::create);

/// Is there no object with content in `store` besides those below `testing/`? The condition of a
/// new volume (format/00 §5.4).
Result<bool> is_empty_prefix(Context const& ctx, ObjectStore& store);

}  // namespace zest

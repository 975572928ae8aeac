// Runs a model's operation on the real thing and says what its caller saw.
#pragma once

#include <vector>

#include "tests/model/model_fs.h"
#include "zest/meta/meta.h"

namespace zest::model {

/// Root, or user 5 with its permissions checked, as the operation says. A write's slice id is
/// filled in. May suspend.
Reply execute(Op& op, meta::Meta& meta);

/// What a reader of a chunk sees, in cells.
std::vector<Cell> cells_of(meta::Slices const& slices);

}  // namespace zest::model

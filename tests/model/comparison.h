// Is the volume what the model says, at the end of a run?
#pragma once

#include <optional>
#include <string>

#include "tests/model/model_fs.h"
#include "zest/meta/meta.h"
#include "zest/meta/testing.h"

namespace zest::model {

/// Asks until the database answers; for questions after a disturbance from outside.
template <class Ask>
auto patiently(Ask const& ask) {
  constexpr int kTries = 400;
  auto result = ask();
  for (int i = 0; i < kTries && !result.ok() && result.error().fault() == Fault::transient; ++i) {
    static_cast<void>(Loop::current()->sleep_for(Context{}, std::chrono::milliseconds(25)).ok());
    result = ask();
  }
  return result;
}

/// Every node, entry and cell, and with `exact` also the sums (usage, statistics of directories);
/// what differs first, or nothing.
std::optional<std::string> difference(meta::testing::Volume& volume, meta::Meta& meta,
                                      ModelFs const& model, bool exact);

}  // namespace zest::model

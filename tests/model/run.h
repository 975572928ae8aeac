// One run of random operations by several clients of one volume against the model.
//
// A step runs one to three operations at the same time, each on any client. There must be an order
// in which the model, one operation after the other, gives the same replies; the model goes on from
// there. At the end the tree, link counts, parents, content, usage and statistics must be the
// model's.
//
// With faults an operation may also end without an answer. One whose reply says that the database
// was not reached (a transient failure other than ETIMEDOUT) must not have happened. One whose
// outcome is unknown (ETIMEDOUT) may have happened or not, but then once and entirely: both are
// tried, and what the volume shows afterwards decides.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/fault/faulty_engine.h"
#include "tests/model/drawing.h"
#include "zest/meta/engine.h"

namespace zest::model {

/// Where the clients of a run find their volume: empty at the begin.
class Database {
 public:
  virtual ~Database() = default;
  /// A client's engine; may suspend.
  virtual std::unique_ptr<meta::Engine> connect() = 0;
};

struct RunOptions {
  std::uint64_t seed = 1;
  bool trash = false;
  /// On the simulated loop, which replays from the seed; false: a real loop, for real servers.
  bool simulated = true;
  std::function<std::unique_ptr<Database>()> make_database;
  /// Faults that the decorator injects into the operations' calls, not into the questions about
  /// them.
  fault::Plan::Chances faults;
  /// Instead: the nth call of all operations (1 = the first) and the one after it fail in this way.
  std::uint64_t nth = 0;
  fault::Fault nth_fault = fault::Fault::none;
  /// Faults from outside: called with true before the operations of a step and with false after
  /// them; then the database answers again, soon.
  std::function<void(bool)> disturb;
};

struct RunReport {
  /// Empty: the volume behaved like the model.
  std::optional<std::string> failure;
  std::uint64_t operations = 0;
  /// Operations that ended without an answer, and how many of them may have happened.
  std::uint64_t refused = 0;
  std::uint64_t unknown = 0;
  /// Faults of the decorator.
  std::uint64_t injected = 0;
};

/// Runs the steps; the failure comes with the history of operations.
RunReport run_steps(RunOptions const& options, std::vector<Step> const& steps);

/// Draws `step_count` steps from the seed and runs them. A failure is shrunk (`tries` times as many
/// runs where a run does not repeat) and fails the test with its seed.
RunReport check(RunOptions const& options, std::size_t step_count, int tries = 1);

/// A number from the environment.
std::uint64_t number_from(char const* variable, std::uint64_t otherwise);

}  // namespace zest::model

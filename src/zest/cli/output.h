// Where the program speaks to people: results on standard output, messages on standard error.
#pragma once

#include <string_view>

#include "zest/base/error.h"

namespace zest::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,  ///< what was asked for could not be done
  kExitUsage = 2,    ///< the command line makes no sense
  kExitFound = 3,    ///< a check that only looks found something to do (gc)
};

/// Writes a line to standard output.
void print(std::string_view line);
/// Writes `zest: ` and a line to standard error.
void note(std::string_view line);
/// Reports `error` of `command` on standard error; returns kExitFailure.
int fail(std::string_view command, Error const& error);

}  // namespace zest::cli

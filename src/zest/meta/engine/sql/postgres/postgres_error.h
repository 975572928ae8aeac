// What a failure that the server reports means here.
#pragma once

#include <string>
#include <string_view>

#include "zest/base/error.h"

namespace zest::meta::sql {

struct ServerFailure {
  std::string_view sqlstate;  ///< five characters; empty when the library failed, not the server
  std::string_view message;
  std::string_view statement;  ///< its text, for messages of what should not happen
  std::string_view function;   ///< of the server's source, where it failed
  /// The statement was the one that commits: a session that ends there leaves the outcome unknown.
  bool committing = false;
  /// There are other servers to find a writable one among.
  bool several_hosts = false;
};

struct Verdict {
  Error error;
  bool session_lost = false;  ///< the server ends the session, or it is of no use any more
};

/// By SQLSTATE; see Session::run for the faults. A conflict is EDEADLK where the server undid the
/// batch and the same batch may succeed at once, EAGAIN where it has to be thought over. Besides:
/// ENOSPC for a full disk, EACCES for a refused user or a missing privilege, ENOENT for a database
/// or table that is not there, EROFS for a server that does not write (transient where there are
/// others), EIO for a value that a column cannot hold.
Verdict judge_failure(ServerFailure const& failure);

/// The SQLSTATE in the message of a failed connect, which has no other place for it (verbose
/// messages have the form `…FATAL:  28P01: …`); empty when there is none.
std::string_view sqlstate_in(std::string_view message);
/// The message without what only a developer of the server wants (SQLSTATE, LOCATION), in one line.
std::string tidy_message(std::string_view message);

}  // namespace zest::meta::sql

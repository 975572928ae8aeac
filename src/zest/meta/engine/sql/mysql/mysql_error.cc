#include "zest/meta/engine/sql/mysql/mysql_error.h"

#include <errmsg.h>
#include <fmt/format.h>
#include <mysqld_error.h>

#include <algorithm>
#include <array>

namespace zest::meta::sql {

namespace {

// Numbers that the header of one of the two products lacks.
constexpr unsigned kSessionKilled = 3169;     // MySQL 5.7
constexpr unsigned kIdleDisconnected = 4031;  // MySQL 8.0.24
constexpr unsigned kSha256NeedsTls = 1251;

template <std::size_t n>
bool is_one_of(unsigned number, std::array<unsigned, n> const& numbers) {
  return std::ranges::find(numbers, number) != numbers.end();
}

// A repetition may cure: a failed assertion (a scalar subquery of two rows), a race for a unique
// key, a lock that was waited for too long, a row that a snapshot has at another state.
constexpr std::array<unsigned, 4> kConflicts{ER_SUBQUERY_NO_1_ROW, ER_DUP_ENTRY,
                                             ER_LOCK_WAIT_TIMEOUT, ER_CHECKREAD};
// The server ended the session; what was not committed is undone.
constexpr std::array<unsigned, 6> kSessionEnds{ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED,
                                               ER_NORMAL_SHUTDOWN, ER_FORCING_CLOSE,
                                               kSessionKilled,     kIdleDisconnected};
constexpr std::array<unsigned, 5> kRefused{ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR,
                                           ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
                                           ER_TABLEACCESS_DENIED_ERROR, kSha256NeedsTls};
constexpr std::array<unsigned, 4> kFull{ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS,
                                        ER_USER_LIMIT_REACHED, ER_OUT_OF_RESOURCES};
constexpr std::array<unsigned, 3> kNoSpace{ER_DISK_FULL, ER_RECORD_FILE_FULL, ER_DATA_TOO_LONG};
constexpr std::array<unsigned, 3> kReadOnly{
    ER_OPTION_PREVENTS_STATEMENT, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER_READ_ONLY_MODE};

bool is_of_client(unsigned number) {
  return number >= CR_MIN_ERROR && number <= CR_MYSQL_LAST_ERROR;
}

std::string describe(MysqlFailure const& failure) {
  // A statement may carry a whole chunk's records.
  constexpr std::size_t kTextMax = 200;
  auto text = fmt::format("{} (error {})", failure.message, failure.number);
  if (!failure.statement.empty()) {
    text += fmt::format(" in: {}{}", failure.statement.substr(0, kTextMax),
                        failure.statement.size() > kTextMax ? "…" : "");
  }
  return text;
}

MysqlVerdict lost(MysqlFailure const& failure, bool doubtful) {
  return {.error = Error::transient(doubtful ? Errc::timedout : Errc::io, describe(failure)),
          .session_lost = true};
}

MysqlVerdict refused(MysqlFailure const& failure, Errc code) {
  return {.error = {code, Fault::semantic, describe(failure)}};
}

/// Answers that say something about the volume or the server, not about this attempt.
MysqlVerdict judge_answer(MysqlFailure const& failure) {
  auto const number = failure.number;
  if (is_one_of(number, kRefused)) {
    return refused(failure, Errc::acces);
  }
  if (number == ER_BAD_DB_ERROR || number == ER_NO_SUCH_TABLE) {
    return refused(failure, Errc::noent);
  }
  if (is_one_of(number, kNoSpace)) {
    return refused(failure, Errc::nospc);
  }
  if (number == ER_WARN_DATA_OUT_OF_RANGE || number == ER_DATA_OUT_OF_RANGE) {
    return refused(failure, Errc::overflow);
  }
  if (number == ER_CRASHED_ON_USAGE || number == ER_CRASHED_ON_REPAIR || number == ER_NOT_KEYFILE) {
    return {.error = Error::corrupt(describe(failure))};
  }
  return refused(failure, Errc::io);
}

}  // namespace

MysqlVerdict judge_mysql(MysqlFailure const& failure) {
  auto const number = failure.number;
  if (number == ER_LOCK_DEADLOCK) {
    // Also what a Galera cluster says at COMMIT when another node was faster.
    return {.error = {Errc::deadlk, Fault::conflict, std::string(failure.message)},
            .rolled_back = true};
  }
  if (is_one_of(number, kConflicts)) {
    // No text of the statement: this is daily business.
    return {.error = {Errc::again, Fault::conflict, std::string(failure.message)}};
  }
  if (is_of_client(number)) {
    return lost(failure, failure.sent);
  }
  if (is_one_of(number, kSessionEnds)) {
    return lost(failure, failure.committing);
  }
  if (number == ER_QUERY_INTERRUPTED || is_one_of(number, kFull)) {
    return {.error = Error::transient(failure.committing ? Errc::timedout : Errc::io,
                                      describe(failure))};
  }
  if (number == ER_ERROR_DURING_COMMIT) {
    return lost(failure, true);
  }
  if (number == ER_UNKNOWN_COM_ERROR) {
    // A Galera node that is not part of the cluster any more (or not yet) says so.
    return lost(failure, false);
  }
  if (is_one_of(number, kReadOnly)) {
    return failure.several_hosts ? lost(failure, false) : refused(failure, Errc::rofs);
  }
  return judge_answer(failure);
}

}  // namespace zest::meta::sql

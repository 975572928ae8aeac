#include "zest/meta/engine/sql/postgres/postgres_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace zest::meta::sql {
namespace {

constexpr std::size_t kStateLength = 5;

template <std::size_t n>
bool is_one_of(std::string_view state, std::array<std::string_view, n> const& states) {
  return std::ranges::find(states, state) != states.end();
}

std::string describe(ServerFailure const& failure) {
  // A statement of thousands of parameters would fill the log.
  constexpr std::size_t kTextMax = 200;
  auto message = tidy_message(failure.message);
  if (!failure.sqlstate.empty()) {
    message += fmt::format(" (SQLSTATE {})", failure.sqlstate);
  }
  if (!failure.statement.empty()) {
    message += fmt::format(" in: {}{}", failure.statement.substr(0, kTextMax),
                           failure.statement.size() > kTextMax ? "…" : "");
  }
  return message;
}

// The server undid it for another's sake, and nothing but a repetition is needed: serialization
// failure, deadlock.
constexpr std::array<std::string_view, 4> kUndone{"40000", "40001", "40002", "40P01"};
// The decision has to be taken anew: a race for a unique key, a lock that was waited for too long,
// the division by zero that assertions are made of.
constexpr std::array<std::string_view, 3> kConflicts{"23505", "55P03", "22012"};
// The session's prepared statements are not what it thinks (a pooler changed the server below it,
// a table was altered), or it stands in a transaction that has failed: nothing happened, and a
// fresh session can do it.
constexpr std::array<std::string_view, 4> kStaleSession{"26000", "42P05", "25P01", "25P02"};
// Shutdown by the administrator or by a crash of another session, starting up, a dropped database,
// sessions that the server gave up; two for statements it cancelled.
constexpr std::array<std::string_view, 7> kSessionEnds{"57P01", "57P02", "57P03", "57P04",
                                                       "57P05", "25P03", "25P04"};

Error refused(ServerFailure const& failure, Errc code) {
  return {code, Fault::semantic, describe(failure)};
}

/// Failures that end the session: known to have changed nothing, unless it was about to commit.
Verdict lost(ServerFailure const& failure) {
  // The crash of another session strikes this one anywhere, in the middle of a commit too.
  bool const doubtful = failure.committing || failure.sqlstate == "57P02";
  return {.error = Error::transient(doubtful ? Errc::timedout : Errc::io, describe(failure)),
          .session_lost = true};
}

/// "cached plan must not change result type": a table was altered since the statement was prepared.
bool is_stale_plan(ServerFailure const& failure) {
  return failure.sqlstate == "0A000" && failure.function == "RevalidateCachedQuery";
}

Verdict judge_class(ServerFailure const& failure) {
  auto const state = failure.sqlstate;
  auto const group = state.substr(0, 2);
  if (group == "08") {
    return lost(failure);
  }
  if (group == "28" || state == "42501") {
    return {.error = refused(failure, Errc::acces), .session_lost = group == "28"};
  }
  if (state == "53100") {
    return {.error = refused(failure, Errc::nospc)};
  }
  if (group == "53" || state == "57014") {  // short of something; cancelled by somebody
    return {.error = Error::transient(Errc::io, describe(failure))};
  }
  if (group == "XX") {
    return {.error = Error::corrupt(describe(failure))};
  }
  return {.error = refused(failure, Errc::io)};
}

}  // namespace

Verdict judge_failure(ServerFailure const& failure) {
  auto const state = failure.sqlstate;
  if (is_one_of(state, kUndone)) {
    return {.error = {Errc::deadlk, Fault::conflict, tidy_message(failure.message)}};
  }
  if (is_one_of(state, kConflicts)) {
    // No text of the statement: this is daily business.
    return {.error = {Errc::again, Fault::conflict, tidy_message(failure.message)}};
  }
  if (is_one_of(state, kStaleSession) || is_stale_plan(failure)) {
    return {.error = {Errc::deadlk, Fault::conflict, describe(failure)}, .session_lost = true};
  }
  if (state.empty() || is_one_of(state, kSessionEnds)) {
    return lost(failure);
  }
  if (state == "40003") {  // "statement completion unknown"
    return {.error = Error::transient(Errc::timedout, describe(failure))};
  }
  if (state == "3D000" || state == "3F000" || state == "42P01") {
    return {.error = refused(failure, Errc::noent)};
  }
  if (state == "25006") {
    if (failure.several_hosts) {
      return {.error = Error::transient(Errc::io, describe(failure)), .session_lost = true};
    }
    return {.error = refused(failure, Errc::rofs)};
  }
  return judge_class(failure);
}

std::string_view sqlstate_in(std::string_view message) {
  constexpr std::string_view kBefore = ":  ";
  auto at = message.find(kBefore);
  while (at != std::string_view::npos) {
    auto const begin = at + kBefore.size();
    auto const state = message.substr(begin, kStateLength);
    bool const is_state =
        state.size() == kStateLength && message.substr(begin + kStateLength, 1) == ":" &&
        std::ranges::all_of(
            state, [](unsigned char c) { return std::isdigit(c) != 0 || std::isupper(c) != 0; });
    if (is_state) {
      return state;
    }
    at = message.find(kBefore, begin);
  }
  return {};
}

std::string tidy_message(std::string_view message) {
  auto const location = message.find("\nLOCATION:");
  std::string tidy(message.substr(0, location));
  if (auto const state = sqlstate_in(tidy); !state.empty()) {
    tidy.erase(static_cast<std::size_t>(state.data() - tidy.data()), kStateLength + 2);
  }
  while (!tidy.empty() && std::isspace(static_cast<unsigned char>(tidy.back())) != 0) {
    tidy.pop_back();
  }
  std::ranges::replace(tidy, '\n', ' ');
  return tidy;
}

}  // namespace zest::meta::sql

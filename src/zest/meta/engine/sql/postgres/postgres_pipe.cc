#include "zest/meta/engine/sql/postgres/postgres_pipe.h"

#include <libpq-fe.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "zest/meta/engine/sql/postgres/postgres_error.h"
#include "zest/runtime/loop.h"

namespace zest::meta::sql {

namespace {

constexpr int kBinary = 1;

}  // namespace

void FreePostgresResult::operator()(pg_result* result) const noexcept {
  PQclear(result);
}

bool PostgresPipe::alive() {
  if (!connected()) {
    return false;
  }
  // What an idle server may have to say (a changed parameter, a session ticket of TLS, a farewell)
  // is little; a pipe that never falls silent shows itself in the next exchange.
  constexpr int kRoundsMax = 4;
  for (int round = 0; round < kRoundsMax; ++round) {
    char byte = 0;
    auto const got = ::recv(PQsocket(handle_.get()), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    if (got == 0 || PQconsumeInput(handle_.get()) == 0) {
      return false;
    }
    PQisBusy(handle_.get());  // handles what was read
  }
  return connected();
}

bool PostgresPipe::prepare(std::string const& name, std::string const& text,
                           BoundParameters const& parameters) {
  return PQsendPrepare(handle_.get(), name.c_str(), text.c_str(), parameters.count(),
                       parameters.types()) == 1;
}

bool PostgresPipe::execute(std::string const& name, BoundParameters const& parameters) {
  return PQsendQueryPrepared(handle_.get(), name.c_str(), parameters.count(), parameters.values(),
                             parameters.lengths(), parameters.formats(), kBinary) == 1;
}

bool PostgresPipe::execute_once(std::string const& text) {
  return PQsendQueryParams(handle_.get(), text.c_str(), 0, nullptr, nullptr, nullptr, nullptr,
                           kBinary) == 1;
}

bool PostgresPipe::sync() {
  return PQpipelineSync(handle_.get()) == 1;
}

Result<void> PostgresPipe::flush(Context const& ctx) {
  for (;;) {
    int const rest = PQflush(handle_.get());
    if (rest == 0) {
      return {};
    }
    if (rest < 0) {
      // The server's last words may have arrived: next() finds them, or that there are none.
      return {};
    }
    ZEST_TRY(auto const ready, Loop::current()->wait_fd(ctx, PQsocket(handle_.get()),
                                                        {.readable = true, .writable = true}));
    if (ready.readable && PQconsumeInput(handle_.get()) == 0) {
      return {};
    }
  }
}

Result<PostgresResult> PostgresPipe::read_one(Context const& ctx) {
  bool ended = !connected();
  while (PQisBusy(handle_.get()) != 0) {
    if (ended) {
      return Error::transient(Errc::io, message());
    }
    ZEST_CHECK(Loop::current()->wait_fd(ctx, PQsocket(handle_.get()),
                                        {.readable = true, .writable = false}));
    // What came before the end of the stream is still looked at.
    ended = PQconsumeInput(handle_.get()) == 0;
  }
  return PostgresResult(PQgetResult(handle_.get()));
}

Result<PostgresResult> PostgresPipe::next(Context const& ctx) {
  ZEST_TRY(auto result, read_one(ctx));
  if (result == nullptr || PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC || !connected()) {
    return result;
  }
  // The library ends the results of every other message with a null, errors at a Sync included.
  ZEST_TRY(auto const terminator, read_one(ctx));
  return terminator == nullptr ? std::move(result) : PostgresResult();
}

std::string PostgresPipe::message() const {
  return tidy_message(PQerrorMessage(handle_.get()));
}

bool PostgresPipe::connected() const {
  return PQstatus(handle_.get()) == CONNECTION_OK;
}

bool PostgresPipe::in_transaction() const {
  auto const status = PQtransactionStatus(handle_.get());
  return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

int PostgresPipe::server_version() const {
  return PQserverVersion(handle_.get());
}

}  // namespace zest::meta::sql

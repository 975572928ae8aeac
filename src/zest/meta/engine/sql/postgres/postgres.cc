#include "zest/meta/engine/sql/postgres/postgres.h"

#include <fmt/format.h>

#include <utility>

#include "zest/meta/engine/sql/postgres/postgres_connect.h"
#include "zest/meta/engine/sql/postgres/postgres_session.h"

namespace zest::meta::sql {
namespace {

class PostgresConnector final : public Connector {
 public:
  explicit PostgresConnector(PostgresOptions options) : options_(std::move(options)) {}

  [[nodiscard]] Dialect const& dialect() const noexcept override { return dialect_; }
  [[nodiscard]] std::string_view name() const noexcept override { return "postgres"; }

  Result<std::unique_ptr<Session>> connect(Context const& ctx) override {
    auto handle = connect_postgres(ctx, options_);
    if (!handle.ok()) {
      return std::move(handle).error().with(fmt::format("connect to {}", options_.target()));
    }
    return make_postgres_session(ctx, *std::move(handle), options_);
  }

  [[nodiscard]] std::vector<Statement> sync_batch() const override {
    if (!options_.commits_lazily()) {
      return {};
    }
    // A transaction that writes to the log (the message is for nobody) and waits for it. The log is
    // flushed up to there.
    return {
        {.text = "BEGIN", .parameters = {}},
        {.text = "SET LOCAL synchronous_commit=on", .parameters = {}},
        {.text = "SELECT CAST(pg_logical_emit_message(true,'zest','') AS text)", .parameters = {}},
        {.text = "COMMIT", .parameters = {}}};
  }

 private:
  PostgresOptions options_;
  Dialect dialect_{.product = Dialect::Product::postgres};
};

}  // namespace

std::unique_ptr<Connector> make_postgres_connector(PostgresOptions options) {
  return std::make_unique<PostgresConnector>(std::move(options));
}

}  // namespace zest::meta::sql

#include "zest/meta/engine/sql/remote/remote_engine.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/remote/batch_runner.h"
#include "zest/meta/engine/sql/remote/commit_batch.h"
#include "zest/meta/engine/sql/remote/counters.h"
#include "zest/meta/engine/sql/remote/listings.h"
#include "zest/meta/engine/sql/remote/records.h"
#include "zest/meta/engine/sql/remote/schema.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

namespace sql {

namespace {

/// The peer's column of a chunk's slices, and that of an attribute's value, end here on MySQL.
constexpr std::size_t kMysqlBlobMax = 65535;

RunnerOptions runner_options(RemoteSqlOptions const& options) {
  RunnerOptions runner{
      .pool = {}, .patience = options.patience, .batch_timeout = options.batch_timeout};
  auto const loops = std::max<std::size_t>(options.loops, 1);
  if (options.url.connections_max != 0) {
    runner.pool.sessions_per_loop = std::max<std::size_t>(options.url.connections_max / loops, 1);
  }
  runner.pool.idle_per_loop = runner.pool.sessions_per_loop;
  if (options.url.idle_max != 0) {
    runner.pool.idle_per_loop = std::max<std::size_t>(options.url.idle_max / loops, 1);
  }
  runner.pool.idle_time = options.url.idle_time;
  runner.pool.life_time = options.url.life_time;
  return runner;
}

class RemoteEngine final : public Engine {
 public:
  RemoteEngine(std::unique_ptr<Connector> connector, RemoteSqlOptions const& options, Logger& log,
               Registry& metrics)
      : options_(options),
        name_(connector->name()),
        sql_(connector->dialect(), options.url.table_prefix),
        runner_(std::move(connector), runner_options(options), log, metrics),
        log_(log) {
    capabilities_.ordered_listing = true;
    capabilities_.ids_fit_int32 = true;
    if (sql_.mysql()) {
      capabilities_.xattr_value_max = kMysqlBlobMax;
    }
  }

  [[nodiscard]] EngineCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }

  Result<std::vector<Value>> fetch(Context const& ctx, std::span<Key const> keys) override {
    std::vector<Statement> batch;
    // One statement sees one state by itself.
    auto const several = keys.size() > 1;
    if (several) {
      batch = sql_.begin_snapshot();
    }
    auto const first = batch.size();
    for (auto const& key : keys) {
      batch.push_back(select_record(sql_, key));
    }
    if (several) {
      batch.push_back(Sql::commit());
    }
    ZEST_TRY(auto const results, read(ctx, batch));
    std::vector<Value> values;
    values.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      ZEST_TRY(auto value, record_from(keys[i], results[first + i]));
      values.push_back(std::move(value));
    }
    return values;
  }

  Result<void> commit(Context const& ctx, Commit const& commit) override {
    ZEST_TRY(auto const batch, commit_batch(sql_, commit));
    auto done = execute(ctx, batch);
    if (done.ok()) {
      return {};
    }
    if (commit.fence.value != 0 && done.error().fault() == Fault::conflict) {
      // The server does not say which condition failed.
      ZEST_CHECK(check_fence(ctx, commit.fence));
    }
    return std::move(done).error();
  }

  /// Without a batch of the connector's, commits are durable when they return, as far as the
  /// server's configuration makes them so.
  Result<void> sync(Context const& ctx) override {
    auto const batch = runner_.connector().sync_batch();
    if (batch.empty() || options_.read_only) {
      return ctx.stop.stop_requested() ? Result<void>(Errc::intr) : Result<void>();
    }
    return done(read(ctx, batch));  // harmless to repeat
  }

  Result<DirPage> list_dir(Context const& ctx, ListDir const& request) override {
    ZEST_TRY(auto const result, read_one(ctx, list_dir_statement(sql_, request)));
    return dir_page_from(request, result);
  }
  Result<std::vector<std::string>> list_xattrs(Context const& ctx, Ino ino) override {
    ZEST_TRY(auto const result, read_one(ctx, list_xattrs_statement(sql_, ino)));
    return xattrs_from(ino, result);
  }
  Result<ChunkPage> list_chunks(Context const& ctx, ChunkKey from, std::size_t limit) override {
    ZEST_TRY(auto const result,
             read_one(ctx, list_chunks_statement(sql_, from, limit, /*one_inode=*/true)));
    return chunk_page_from(from, limit, result);
  }
  Result<ChunkPage> list_all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                                    std::size_t limit) override {
    auto const begin = from.value_or(ChunkKey{});
    ZEST_TRY(auto const result,
             read_one(ctx, list_chunks_statement(sql_, begin, limit, /*one_inode=*/false)));
    return chunk_page_from(begin, limit, result);
  }
  Result<std::vector<SessionEntry>> list_sessions(Context const& ctx) override {
    ZEST_TRY(auto const result, read_one(ctx, list_sessions_statement(sql_)));
    return sessions_from(result);
  }
  Result<std::vector<Ino>> list_sustained(Context const& ctx, SessionId session,
                                          std::size_t limit) override {
    ZEST_TRY(auto const result, read_one(ctx, list_sustained_statement(sql_, session, limit)));
    return inodes_from(SustainedKey{.session = session, .ino = {}}, result);
  }
  Result<std::vector<DelfileEntry>> list_delfiles(Context const& ctx, std::int64_t before_sec,
                                                  std::size_t limit) override {
    return all_pages<DelfileEntry>(
        limit, kListPageMax,
        [&](std::int64_t after, std::size_t rows) -> Result<std::vector<DelfileEntry>> {
          ZEST_TRY(auto const result,
                   read_one(ctx, list_delfiles_statement(sql_, before_sec, after, rows)));
          return delfiles_from(result);
        },
        [](DelfileEntry const& last) { return last.ino.value; });
  }
  Result<std::vector<DelayedEntry>> list_delayed_slices(Context const& ctx, std::int64_t before_sec,
                                                        std::size_t limit) override {
    return all_pages<DelayedEntry>(
        limit, kChunkPageMax,
        [&](std::int64_t after, std::size_t rows) -> Result<std::vector<DelayedEntry>> {
          ZEST_TRY(auto const result,
                   read_one(ctx, list_delayed_statement(sql_, before_sec, after, rows)));
          return delayed_from(result);
        },
        [](DelayedEntry const& last) { return last.key.compacted_into.value; });
  }
  Result<std::vector<DetachedEntry>> list_detached(Context const& ctx, std::int64_t before_sec,
                                                   std::size_t limit) override {
    ZEST_TRY(auto const result, read_one(ctx, list_detached_statement(sql_, before_sec, limit)));
    return detached_from(result);
  }
  Result<std::vector<DelayedSlice>> list_garbage_slices(Context const& ctx,
                                                        std::size_t limit) override {
    return all_pages<DelayedSlice>(
        limit, kListPageMax,
        [&](std::int64_t after, std::size_t rows) -> Result<std::vector<DelayedSlice>> {
          ZEST_TRY(auto const result, read_one(ctx, list_garbage_statement(sql_, after, rows)));
          return garbage_from(result);
        },
        [](DelayedSlice const& last) { return last.id.value; });
  }
  Result<std::vector<Ino>> list_locked(Context const& ctx, SessionId session) override {
    ZEST_TRY(auto const result, read_one(ctx, list_locked_statement(sql_, session)));
    return inodes_from(SessionKey{session}, result);
  }

  Result<IdRange> allocate_ids(Context const& ctx, IdKind kind, std::uint64_t count) override {
    ZEST_TRY(auto const results, write(ctx, allocate_ids_batch(sql_, kind, count)));
    // A server that forgot it would give the same ids to somebody else.
    ZEST_CHECK(sync(ctx));
    return ids_from(kind, count, results);
  }
  Result<Usage> read_usage(Context const& ctx) override {
    ZEST_TRY(auto const result, read_one(ctx, read_usage_statement(sql_)));
    return usage_from(result);
  }
  Result<void> add_usage(Context const& ctx, Usage delta) override {
    return done(write(ctx, add_usage_batch(sql_, delta)));
  }
  Result<std::vector<Ino>> add_dir_stats(Context const& ctx,
                                         std::span<std::pair<Ino, DirStat> const> deltas) override {
    std::vector<std::pair<Ino, DirStat>> sorted(deltas.begin(), deltas.end());
    std::ranges::sort(sorted, {}, &std::pair<Ino, DirStat>::first);
    std::vector<Ino> missing;
    for (std::size_t i = 0; i < sorted.size(); i += kDeltasMax) {
      auto const part = std::span(sorted).subspan(i, std::min(kDeltasMax, sorted.size() - i));
      ZEST_TRY(auto const results, write(ctx, add_dir_stats_batch(sql_, part)));
      auto const absent = missing_dir_stats(part, results);
      missing.insert(missing.end(), absent.begin(), absent.end());
    }
    return missing;
  }
  Result<std::vector<QuotaEntry>> list_quotas(Context const& ctx) override {
    ZEST_TRY(auto const result, read_one(ctx, list_quotas_statement(sql_)));
    return quotas_from(result);
  }
  Result<void> add_quota_usage(Context const& ctx,
                               std::span<std::pair<QuotaKey, Usage> const> deltas) override {
    std::vector<std::pair<QuotaKey, Usage>> sorted(deltas.begin(), deltas.end());
    std::ranges::sort(sorted, {}, &std::pair<QuotaKey, Usage>::first);
    for (std::size_t i = 0; i < sorted.size(); i += kDeltasMax) {
      auto const part = std::span(sorted).subspan(i, std::min(kDeltasMax, sorted.size() - i));
      ZEST_CHECK(write(ctx, add_quota_usage_batch(sql_, part)));
    }
    return {};
  }
  Result<void> set_quota(Context const& ctx, QuotaKey const& key, Quota const& quota) override {
    return done(write(ctx, set_quota_batch(sql_, key, quota)));
  }
  Result<std::uint32_t> insert_acl(Context const& ctx, AclRule const& rule) override {
    ZEST_TRY(auto const results, write(ctx, insert_acl_batch(sql_, rule)));
    ZEST_CHECK(sync(ctx));
    return acl_id_from(results);
  }
  Result<std::vector<StoredAcl>> list_acls(Context const& ctx, std::uint32_t after) override {
    ZEST_TRY(auto const result, read_one(ctx, list_acls_statement(sql_, after)));
    return acls_from(result);
  }
  Result<bool> take_lease(Context const& ctx, Lease lease, std::int64_t now_sec,
                          std::int64_t interval_sec) override {
    ZEST_TRY(auto const results, write(ctx, take_lease_batch(sql_, lease, now_sec, interval_sec)));
    return lease_from(results);
  }

  Result<std::optional<std::string>> load_setting(Context const& ctx) override {
    ZEST_CHECK(prepare(ctx));
    return read_setting(ctx);
  }
  Result<void> initialize(Context const& ctx, std::string_view setting, Attr const& root,
                          std::optional<Attr> const& trash) override {
    // The tables first: MySQL commits each statement that creates one. Without a Setting they are
    // no volume yet.
    ZEST_CHECK(complete_schema(ctx));
    ZEST_TRY(auto const existing, read_setting(ctx));
    return done(write(ctx, initialize_batch(sql_, existing.has_value(), setting, root, trash)));
  }
  Result<void> reset(Context const& ctx) override { return done(write(ctx, drop_schema(sql_))); }

  [[nodiscard]] std::uint64_t trips() const noexcept override { return runner_.trips(); }

 private:
  /// Up to `limit` rows in pages of at most `page_max`, in the order of a number that `number_of`
  /// takes from a row.
  template <class Row, class Page, class NumberOf>
  static Result<std::vector<Row>> all_pages(std::size_t limit, std::size_t page_max,
                                            Page const& page, NumberOf const& number_of) {
    std::vector<Row> rows;
    std::int64_t after = -1;
    for (bool more = true; more && rows.size() < limit;) {
      auto const wanted = std::min(limit - rows.size(), page_max);
      ZEST_TRY(auto got, page(after, wanted));
      more = got.size() == wanted;
      if (more) {
        after = static_cast<std::int64_t>(number_of(got.back()));
      }
      std::ranges::move(got, std::back_inserter(rows));
    }
    return rows;
  }
  static Result<void> done(Result<Results> results) {
    if (!results.ok()) {
      return std::move(results).error();
    }
    return {};
  }

  Result<Results> read(Context const& ctx, std::span<Statement const> batch) {
    if (batch.empty()) {
      return Results();
    }
    return runner_.read(ctx, batch);
  }
  Result<ResultSet> read_one(Context const& ctx, Statement const& statement) {
    ZEST_TRY(auto results, runner_.read(ctx, std::span(&statement, 1)));
    return std::move(results.front());
  }
  Result<Results> write(Context const& ctx, std::vector<Statement> const& batch) {
    if (options_.read_only) {
      return Error(Errc::rofs, Fault::semantic, "the volume was opened for reading only");
    }
    if (batch.empty()) {
      return Results();
    }
    return runner_.write(ctx, batch);
  }

  Result<void> execute(Context const& ctx, std::vector<Statement> const& batch) {
    if (options_.read_only) {
      return Error(Errc::rofs, Fault::semantic, "the volume was opened for reading only");
    }
    return batch.empty() ? Result<void>() : runner_.execute(ctx, batch);
  }

  Result<std::optional<std::string>> read_setting(Context const& ctx) {
    ZEST_TRY(auto const inspected, read(ctx, inspect_schema(sql_)));
    if (!has_setting_table(sql_, inspected)) {
      return std::optional<std::string>();
    }
    Row const row{.table = "setting",
                  .key = {{.name = "name", .value = Text{"format"}}},
                  .values = {{.name = "value", .value = {}}}};
    ZEST_TRY(auto const result, read_one(ctx, sql_.select(row)));
    if (result.rows.empty() || result.rows.front().empty()) {
      return std::optional<std::string>();
    }
    auto const* text = std::get_if<std::string>(&result.rows.front().front());
    if (text == nullptr) {
      return Error::corrupt("the Setting in the database is no text");
    }
    return std::optional(*text);
  }

  Result<void> complete_schema(Context const& ctx) {
    ZEST_TRY(auto const inspected, read(ctx, inspect_schema(sql_)));
    auto const missing = missing_schema(sql_, inspected);
    return missing.empty() ? Result<void>() : done(write(ctx, missing));
  }

  /// Adds what an older client's volume lacks; a database without a volume is left alone. Every
  /// command reads the Setting first, so this happens before anything else.
  Result<void> prepare(Context const& ctx) {
    if (options_.read_only || prepared_.load(std::memory_order_relaxed)) {
      return {};
    }
    ZEST_TRY(auto const inspected, read(ctx, inspect_schema(sql_)));
    auto const missing = missing_schema(sql_, inspected);
    if (has_setting_table(sql_, inspected) && !missing.empty()) {
      log_.info("adding tables and columns that this volume's older client did not have",
                {{"engine", name()}});
      ZEST_CHECK(write(ctx, missing));
    }
    prepared_.store(true, std::memory_order_relaxed);
    return {};
  }

  Result<void> check_fence(Context const& ctx, SessionId session) {
    Key const key = SessionKey{session};
    ZEST_TRY(auto const values, fetch(ctx, std::span(&key, 1)));
    auto const* record = std::get_if<SessionRecord>(&values.front());
    if (record == nullptr || record->expire_sec <= 0) {
      return fenced(session);
    }
    return {};
  }

  RemoteSqlOptions options_;
  EngineCapabilities capabilities_;
  std::string name_;
  Sql sql_;
  BatchRunner runner_;
  Logger& log_;
  std::atomic<bool> prepared_{false};
};

}  // namespace

}  // namespace sql

std::unique_ptr<Engine> make_remote_sql_engine(std::unique_ptr<sql::Connector> connector,
                                               RemoteSqlOptions const& options, Logger& log,
                                               Registry& metrics) {
  return std::make_unique<sql::RemoteEngine>(std::move(connector), options, log, metrics);
}

}  // namespace zest::meta

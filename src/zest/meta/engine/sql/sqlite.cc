#include "zest/meta/engine/sql/sqlite.h"

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/sqlite_connection.h"
#include "zest/meta/engine/sql/sqlite_read.h"
#include "zest/meta/engine/sql/sqlite_readers.h"
#include "zest/meta/engine/sql/sqlite_schema.h"
#include "zest/meta/engine/sql/sqlite_wal_sync.h"
#include "zest/meta/engine/sql/sqlite_write.h"
#include "zest/meta/engine/sql/sqlite_writer.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

namespace sqlite {

namespace {

class SqliteEngine final : public Engine {
 public:
  SqliteEngine(SqliteOptions options, std::unique_ptr<Connection> writer,
               std::unique_ptr<Connection> checkpoints,
               std::vector<std::unique_ptr<Connection>> readers, Logger& log, Registry& metrics)
      : options_(std::move(options)), slots_(options_.queue_max), readers_(std::move(readers)) {
    capabilities_.ordered_listing = true;
    auto const sync_on_demand = writer && writer->wal() && !options_.durable;
    if (writer) {
      writer_.emplace(std::move(writer), std::move(checkpoints), options_.busy_timeout, log,
                      metrics);
    }
    if (sync_on_demand) {
      wal_sync_.emplace(options_.path, metrics);
    }
  }

  [[nodiscard]] EngineCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "sqlite3"; }

  Result<std::vector<Value>> fetch(Context const& ctx, std::span<Key const> keys) override {
    return read(ctx, keys.size() > 1, [&](Connection& connection) -> Result<std::vector<Value>> {
      std::vector<Value> values;
      values.reserve(keys.size());
      for (auto const& key : keys) {
        ZEST_TRY(auto value, read_record(connection, key));
        values.push_back(std::move(value));
      }
      return values;
    });
  }
  Result<void> commit(Context const& ctx, Commit const& commit) override {
    return write(ctx, [&](WriteTransaction& t) { return t.commit(commit); });
  }
  Result<void> sync(Context const& ctx) override {
    trips_.fetch_add(1, std::memory_order_relaxed);
    // Without a log of its own every commit is durable already.
    return wal_sync_ ? wal_sync_->sync(ctx) : Result<void>();
  }

  Result<DirPage> list_dir(Context const& ctx, ListDir const& request) override {
    return read(ctx, false, [&](Connection& c) { return sqlite::list_dir(c, request); });
  }
  Result<std::vector<std::string>> list_xattrs(Context const& ctx, Ino ino) override {
    return read(ctx, false, [&](Connection& c) { return sqlite::list_xattrs(c, ino); });
  }
  Result<ChunkPage> list_chunks(Context const& ctx, ChunkKey from, std::size_t limit) override {
    return read(ctx, false, [&](Connection& c) {
      return sqlite::list_chunks(c, from, limit, /*one_inode=*/true);
    });
  }
  Result<ChunkPage> list_all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                                    std::size_t limit) override {
    return read(ctx, false, [&](Connection& c) {
      return sqlite::list_chunks(c, from.value_or(ChunkKey{}), limit, /*one_inode=*/false);
    });
  }
  Result<std::vector<SessionEntry>> list_sessions(Context const& ctx) override {
    return read(ctx, false, [&](Connection& c) { return sqlite::list_sessions(c); });
  }
  Result<std::vector<Ino>> list_sustained(Context const& ctx, SessionId session,
                                          std::size_t limit) override {
    return read(ctx, false,
                [&](Connection& c) { return sqlite::list_sustained(c, session, limit); });
  }
  Result<std::vector<DelfileEntry>> list_delfiles(Context const& ctx, std::int64_t before_sec,
                                                  std::size_t limit) override {
    return read(ctx, false,
                [&](Connection& c) { return sqlite::list_delfiles(c, before_sec, limit); });
  }
  Result<std::vector<DelayedSlice>> list_garbage_slices(Context const& ctx,
                                                        std::size_t limit) override {
    return read(ctx, false, [&](Connection& c) { return sqlite::list_garbage_slices(c, limit); });
  }
  Result<std::vector<Ino>> list_locked(Context const& ctx, SessionId session) override {
    return read(ctx, false, [&](Connection& c) { return sqlite::list_locked(c, session); });
  }
  Result<std::vector<DelayedEntry>> list_delayed_slices(Context const& ctx, std::int64_t before_sec,
                                                        std::size_t limit) override {
    return read(ctx, false,
                [&](Connection& c) { return sqlite::list_delayed_slices(c, before_sec, limit); });
  }
  Result<std::vector<DetachedEntry>> list_detached(Context const& ctx, std::int64_t before_sec,
                                                   std::size_t limit) override {
    return read(ctx, false,
                [&](Connection& c) { return sqlite::list_detached(c, before_sec, limit); });
  }

  Result<std::vector<QuotaEntry>> list_quotas(Context const& ctx) override {
    return read(ctx, false, [&](Connection& c) { return sqlite::list_quotas(c); });
  }
  Result<void> add_quota_usage(Context const& ctx,
                               std::span<std::pair<QuotaKey, Usage> const> deltas) override {
    return write(ctx, [&](WriteTransaction& t) { return t.add_quota_usage(deltas); });
  }
  Result<void> set_quota(Context const& ctx, QuotaKey const& key, Quota const& quota) override {
    return write(ctx, [&](WriteTransaction& t) { return t.set_quota(key, quota); });
  }
  Result<std::uint32_t> insert_acl(Context const& ctx, AclRule const& rule) override {
    return write_value<std::uint32_t>(ctx, [&](WriteTransaction& t) { return t.insert_acl(rule); });
  }
  Result<std::vector<StoredAcl>> list_acls(Context const& ctx, std::uint32_t after) override {
    return read(ctx, false, [&](Connection& c) { return sqlite::list_acls(c, after); });
  }

  Result<IdRange> allocate_ids(Context const& ctx, IdKind kind, std::uint64_t count) override {
    return write_value<IdRange>(ctx,
                                [&](WriteTransaction& t) { return t.allocate_ids(kind, count); });
  }
  Result<Usage> read_usage(Context const& ctx) override {
    return read(ctx, true, [&](Connection& c) { return sqlite::read_usage(c); });
  }
  Result<void> add_usage(Context const& ctx, Usage delta) override {
    return write(ctx, [&](WriteTransaction& t) { return t.add_usage(delta); });
  }
  Result<std::vector<Ino>> add_dir_stats(Context const& ctx,
                                         std::span<std::pair<Ino, DirStat> const> deltas) override {
    return write_value<std::vector<Ino>>(
        ctx, [&](WriteTransaction& t) { return t.add_dir_stats(deltas); });
  }
  Result<bool> take_lease(Context const& ctx, Lease lease, std::int64_t now_sec,
                          std::int64_t interval_sec) override {
    return write_value<bool>(
        ctx, [&](WriteTransaction& t) { return t.take_lease(lease, now_sec, interval_sec); });
  }

  Result<std::optional<std::string>> load_setting(Context const& ctx) override {
    return read(ctx, true, [&](Connection& c) { return sqlite::load_setting(c); });
  }
  Result<void> initialize(Context const& ctx, std::string_view setting, Attr const& root,
                          std::optional<Attr> const& trash) override {
    return write(ctx, [&](WriteTransaction& t) { return t.initialize(setting, root, trash); });
  }
  Result<void> reset(Context const& ctx) override {
    return write(ctx, [&](WriteTransaction& t) { return t.reset(); });
  }

  [[nodiscard]] std::uint64_t trips() const noexcept override {
    return trips_.load(std::memory_order_relaxed);
  }

 private:
  /// Holds one of the places of the bounded queue.
  class Slot {
   public:
    explicit Slot(Semaphore& slots) : slots_(slots) {}
    ~Slot() { slots_.release(); }
    Slot(Slot const&) = delete;
    Slot& operator=(Slot const&) = delete;

   private:
    Semaphore& slots_;
  };

  template <class Body>
  auto read(Context const& ctx, bool snapshot, Body const& body)
      -> std::invoke_result_t<Body, Connection&> {
    trips_.fetch_add(1, std::memory_order_relaxed);
    ZEST_CHECK(slots_.acquire(ctx));
    Slot const slot(slots_);
    return readers_.run(ctx, snapshot, body);
  }

  Result<void> write(Context const& ctx, WriteJob::Body body) {
    trips_.fetch_add(1, std::memory_order_relaxed);
    if (!writer_) {
      return Error(Errc::rofs, Fault::semantic,
                   "sqlite3 " + options_.path + ": the volume was opened for reading only");
    }
    ZEST_CHECK(slots_.acquire(ctx));
    Slot const slot(slots_);
    return writer_->run(ctx, std::move(body));
  }

  /// write() of a body that has something to say; the last run's value counts.
  template <class T, class Body>
  Result<T> write_value(Context const& ctx, Body const& body) {
    std::optional<T> value;
    ZEST_CHECK(write(ctx, [&](WriteTransaction& t) -> Result<void> {
      ZEST_TRY(value, body(t));
      return {};
    }));
    return *std::move(value);
  }

  SqliteOptions options_;
  EngineCapabilities capabilities_;
  std::atomic<std::uint64_t> trips_{0};
  Semaphore slots_;
  Readers readers_;
  std::optional<Writer> writer_;
  std::optional<WalSync> wal_sync_;
};

/// Adds what an older client's volume lacks; a file without a volume is left alone.
Result<void> upgrade(Connection& connection, Logger& log) {
  ZEST_TRY(auto const setting, load_setting(connection));
  if (!setting) {
    return {};
  }
  ZEST_TRY(bool const incomplete, schema_incomplete(connection));
  if (!incomplete) {
    return {};
  }
  log.info("adding tables and columns that this volume's older client did not have",
           {{"file", connection.path()}});
  ZEST_CHECK(connection.run("BEGIN IMMEDIATE"));
  auto result = create_schema(connection);
  if (result.ok()) {
    result = connection.run("COMMIT");
  }
  connection.rollback();
  return result;
}

}  // namespace

}  // namespace sqlite

Result<std::unique_ptr<Engine>> open_sqlite(SqliteOptions const& options, Logger& log,
                                            Registry& metrics) {
  sqlite::ConnectionOptions how{.path = options.path,
                                .table_prefix = options.table_prefix,
                                .journal = options.journal,
                                .read_only = options.read_only,
                                .create = options.create,
                                .durable = options.durable,
                                .busy_timeout = std::chrono::seconds(5)};
  std::unique_ptr<sqlite::Connection> writer;
  std::unique_ptr<sqlite::Connection> checkpoints;
  if (!options.read_only) {
    ZEST_TRY(checkpoints, sqlite::Connection::open(how));
    ZEST_CHECK(sqlite::upgrade(*checkpoints, log));
    auto writer_options = how;
    writer_options.busy_timeout = Duration::zero();
    writer_options.automatic_checkpoints = options.durable;
    ZEST_TRY(writer, sqlite::Connection::open(writer_options));
  }
  how.create = false;
  std::vector<std::unique_ptr<sqlite::Connection>> readers;
  for (std::size_t i = 0; i < std::max<std::size_t>(options.readers, 1); ++i) {
    ZEST_TRY(auto reader, sqlite::Connection::open(how));
    readers.push_back(std::move(reader));
  }
  return std::unique_ptr<Engine>(std::make_unique<sqlite::SqliteEngine>(
      options, std::move(writer), std::move(checkpoints), std::move(readers), log, metrics));
}

}  // namespace zest::meta

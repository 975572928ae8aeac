#include "zest/meta/engine/memory/memory.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "zest/meta/engine/memory/memory_state.h"
#include "zest/runtime/loop.h"

namespace zest::meta {

namespace {

class MemoryEngine final : public Engine {
 public:
  explicit MemoryEngine(MemoryEngineOptions options)
      : options_(std::move(options)), state_(options_) {
    capabilities_.usage_in_commit = options_.usage_in_commit;
    capabilities_.ordered_listing = options_.ordered_listing;
    capabilities_.parents_stored = options_.parents_stored;
    capabilities_.ids_fit_int32 = options_.ids_fit_int32;
  }

  [[nodiscard]] EngineCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "memory"; }

  Result<std::vector<Value>> fetch(Context const& ctx, std::span<Key const> keys) override {
    return call(ctx, "fetch", [&]() -> Result<std::vector<Value>> {
      std::vector<Value> values;
      values.reserve(keys.size());
      for (auto const& key : keys) {
        ZEST_TRY(auto value, state_.read(key));
        values.push_back(std::move(value));
      }
      return values;
    });
  }
  Result<void> commit(Context const& ctx, Commit const& commit) override {
    ZEST_CHECK(apply(ctx, commit));
    return options_.after_commit ? options_.after_commit() : Result<void>();
  }
  Result<void> sync(Context const& ctx) override {
    return call(ctx, "sync", [] { return Result<void>(); });
  }

  Result<DirPage> list_dir(Context const& ctx, ListDir const& request) override {
    return call(ctx, "list_dir", [&] { return state_.list_dir(request); });
  }
  Result<std::vector<std::string>> list_xattrs(Context const& ctx, Ino ino) override {
    return call(ctx, "list_xattrs", [&] { return Result(state_.list_xattrs(ino)); });
  }
  Result<ChunkPage> list_chunks(Context const& ctx, ChunkKey from, std::size_t limit) override {
    return call(ctx, "list_chunks",
                [&] { return Result(state_.list_chunks(from, limit, /*one_inode=*/true)); });
  }
  Result<ChunkPage> list_all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                                    std::size_t limit) override {
    return call(ctx, "list_all_chunks", [&] {
      return Result(state_.list_chunks(from.value_or(ChunkKey{}), limit, /*one_inode=*/false));
    });
  }
  Result<std::vector<SessionEntry>> list_sessions(Context const& ctx) override {
    return call(ctx, "list_sessions", [&] { return Result(state_.list_sessions()); });
  }
  Result<std::vector<Ino>> list_sustained(Context const& ctx, SessionId session,
                                          std::size_t limit) override {
    return call(ctx, "list_sustained",
                [&] { return Result(state_.list_sustained(session, limit)); });
  }
  Result<std::vector<DelfileEntry>> list_delfiles(Context const& ctx, std::int64_t before_sec,
                                                  std::size_t limit) override {
    return call(ctx, "list_delfiles",
                [&] { return Result(state_.list_delfiles(before_sec, limit)); });
  }
  Result<std::vector<DelayedSlice>> list_garbage_slices(Context const& ctx,
                                                        std::size_t limit) override {
    return call(ctx, "list_garbage_slices",
                [&] { return Result(state_.list_garbage_slices(limit)); });
  }
  Result<std::vector<Ino>> list_locked(Context const& ctx, SessionId session) override {
    return call(ctx, "list_locked", [&] { return Result(state_.list_locked(session)); });
  }
  Result<std::vector<DelayedEntry>> list_delayed_slices(Context const& ctx, std::int64_t before_sec,
                                                        std::size_t limit) override {
    return call(ctx, "list_delayed_slices",
                [&] { return Result(state_.list_delayed_slices(before_sec, limit)); });
  }
  Result<std::vector<DetachedEntry>> list_detached(Context const& ctx, std::int64_t before_sec,
                                                   std::size_t limit) override {
    return call(ctx, "list_detached",
                [&] { return Result(state_.list_detached(before_sec, limit)); });
  }

  Result<std::vector<QuotaEntry>> list_quotas(Context const& ctx) override {
    return call(ctx, "list_quotas", [&] { return Result(state_.list_quotas()); });
  }
  Result<void> add_quota_usage(Context const& ctx,
                               std::span<std::pair<QuotaKey, Usage> const> deltas) override {
    return call(ctx, "add_quota_usage", [&] {
      state_.add_quota_usage(deltas);
      return Result<void>();
    });
  }
  Result<void> set_quota(Context const& ctx, QuotaKey const& key, Quota const& quota) override {
    return call(ctx, "set_quota", [&] {
      state_.set_quota(key, quota);
      return Result<void>();
    });
  }
  Result<std::uint32_t> insert_acl(Context const& ctx, AclRule const& rule) override {
    return call(ctx, "insert_acl", [&] { return Result(state_.insert_acl(rule)); });
  }
  Result<std::vector<StoredAcl>> list_acls(Context const& ctx, std::uint32_t after) override {
    return call(ctx, "list_acls", [&] { return Result(state_.list_acls(after)); });
  }

  Result<IdRange> allocate_ids(Context const& ctx, IdKind kind, std::uint64_t count) override {
    return call(ctx, "allocate_ids", [&] { return Result(state_.allocate_ids(kind, count)); });
  }
  Result<Usage> read_usage(Context const& ctx) override {
    return call(ctx, "read_usage", [&] { return Result(state_.usage()); });
  }
  Result<void> add_usage(Context const& ctx, Usage delta) override {
    return call(ctx, "add_usage", [&] {
      state_.add_usage(delta);
      return Result<void>();
    });
  }
  Result<std::vector<Ino>> add_dir_stats(Context const& ctx,
                                         std::span<std::pair<Ino, DirStat> const> deltas) override {
    return call(ctx, "add_dir_stats", [&] { return Result(state_.add_dir_stats(deltas)); });
  }
  Result<bool> take_lease(Context const& ctx, Lease lease, std::int64_t now_sec,
                          std::int64_t interval_sec) override {
    return call(ctx, "take_lease",
                [&] { return Result(state_.take_lease(lease, now_sec, interval_sec)); });
  }

  Result<std::optional<std::string>> load_setting(Context const& ctx) override {
    return call(ctx, "load_setting", [&] { return Result(state_.setting()); });
  }
  Result<void> initialize(Context const& ctx, std::string_view setting, Attr const& root,
                          std::optional<Attr> const& trash) override {
    return call(ctx, "initialize", [&] {
      state_.initialize(setting, root, trash);
      return Result<void>();
    });
  }
  Result<void> reset(Context const& ctx) override {
    return call(ctx, "reset", [&] {
      state_ = MemoryState(options_);
      return Result<void>();
    });
  }

  [[nodiscard]] std::uint64_t trips() const noexcept override {
    return trips_.load(std::memory_order_relaxed);
  }

 private:
  Result<void> apply(Context const& ctx, Commit const& commit) {
    return call(ctx, "commit", [&]() -> Result<void> {
      if (drawn(options_.conflict_per_mille)) {
        return Error(Errc::again, Fault::conflict, "injected conflict");
      }
      auto const lost = drawn(options_.lost_reply_per_mille);
      ZEST_CHECK(state_.commit(commit));
      if (lost) {
        return Error::transient(Errc::timedout, "injected loss of a commit's reply");
      }
      return {};
    });
  }
  /// One trip: counted, perhaps failed by the test's hook, then `body` under the lock.
  template <class Body>
  auto call(Context const& ctx, std::string_view name, Body const& body)
      -> std::invoke_result_t<Body> {
    trips_.fetch_add(1, std::memory_order_relaxed);
    if (options_.yield && Loop::on_fiber()) {
      Loop::current()->yield();
    }
    if (ctx.stop.stop_requested()) {
      return Error(Errc::intr);
    }
    if (options_.before_call) {
      ZEST_CHECK(options_.before_call(name));
    }
    std::lock_guard const lock(mutex_);
    return body();
  }

  [[nodiscard]] bool drawn(std::uint32_t per_mille) {
    return per_mille != 0 && options_.rng != nullptr && options_.rng->below(1000) < per_mille;
  }

  MemoryEngineOptions options_;
  EngineCapabilities capabilities_;
  std::atomic<std::uint64_t> trips_{0};
  std::mutex mutex_;
  MemoryState state_;
};

}  // namespace

std::unique_ptr<Engine> make_memory_engine(MemoryEngineOptions options) {
  return std::make_unique<MemoryEngine>(std::move(options));
}

}  // namespace zest::meta

#include "zest/meta/engine/kv/kv_engine.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "zest/base/rng.h"
#include "zest/format/entry.h"
#include "zest/meta/engine/kv/kv_accounts.h"
#include "zest/meta/engine/kv/kv_cache.h"
#include "zest/meta/engine/kv/kv_listings.h"
#include "zest/meta/engine/kv/kv_records.h"
#include "zest/meta/engine/kv/kv_split.h"
#include "zest/meta/engine/kv/kv_transactions.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta {

namespace {

using kv::View;

/// Lanes that no inode has.
enum SpecialLane : std::uint64_t {
  kIdLane = std::uint64_t{1} << 63U,
  kUsageLane = kIdLane + 16,
  kStatsLane,
  kQuotaLane,
  kAclLane,
};

/// Directory statistics and quotas of one transaction, so that it stays small.
constexpr std::size_t kDeltasMax = 50;
/// Changes of one step of a commit that is too large.
constexpr std::size_t kStepMax = 64;

/// The inode whose record the change builds on, or 0.
struct LaneOf {
  std::uint64_t operator()(UpdateNode const& c) const { return c.ino.value; }
  std::uint64_t operator()(AppendSlices const& c) const { return c.key.ino.value; }
  std::uint64_t operator()(ReplaceChunkPrefix const& c) const { return c.key.ino.value; }
  std::uint64_t operator()(AddParent const& c) const { return c.ino.value; }
  std::uint64_t operator()(Put const& c) const { return of_lock(c.key); }
  std::uint64_t operator()(Erase const& c) const { return of_lock(c.key); }
  template <class Other>
  std::uint64_t operator()(Other const& /*change*/) const {
    return 0;
  }
  static std::uint64_t of_lock(Key const& key) {
    if (auto const* flock = std::get_if<FlockKey>(&key)) {
      return flock->ino.value;
    }
    auto const* plock = std::get_if<PlockKey>(&key);
    return plock == nullptr ? 0 : plock->ino.value;
  }
};

std::uint64_t lane_of(Commit const& commit) {
  for (auto const& change : commit.changes) {
    if (auto const lane = std::visit(LaneOf(), change); lane != 0) {
      return lane;
    }
  }
  return 0;
}

class KvEngine final : public Engine {
 public:
  KvEngine(std::unique_ptr<kv::Store> store, KvEngineOptions options, Registry& metrics)
      : store_(std::move(store)),
        layout_(std::move(options.prefix)),
        cache_(options.cache_entries_max),
        rng_(options.seed),
        transactions_(*store_, cache_, rng_, metrics),
        listings_(*store_, layout_) {
    capabilities_.ordered_listing = true;
    capabilities_.parents_stored = true;
  }

  [[nodiscard]] EngineCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string_view name() const noexcept override { return store_->name(); }

  Result<std::vector<Value>> fetch(Context const& ctx, std::span<Key const> keys) override {
    std::vector<Value> values;
    ZEST_CHECK(transactions_.read(ctx, [&](View& view) -> Result<void> {
      values.clear();
      foresee(view, keys);
      for (auto const& key : keys) {
        auto value = kv::read_record(view, layout_, key);
        if (!value.ok() && view.missing().empty()) {
          return std::move(value).error();
        }
        values.push_back(value.ok() ? *std::move(value) : Value());
      }
      return {};
    }));
    return values;
  }

  Result<void> commit(Context const& ctx, Commit const& commit) override {
    auto result = commit_whole(ctx, commit);
    if (!failed_with(result, Errc::fbig)) {
      return result;
    }
    auto const split = kv::split_commit(commit, kStepMax);
    return split ? commit_split(ctx, *split) : std::move(result);
  }

  /// A transaction that was answered is on the disks of most servers.
  Result<void> sync(Context const& /*ctx*/) override { return {}; }

  Result<DirPage> list_dir(Context const& ctx, ListDir const& request) override {
    return listings_.dir(ctx, request);
  }
  Result<std::vector<std::string>> list_xattrs(Context const& ctx, Ino ino) override {
    return listings_.xattrs(ctx, ino);
  }
  Result<ChunkPage> list_chunks(Context const& ctx, ChunkKey from, std::size_t limit) override {
    return listings_.chunks(ctx, from, limit);
  }
  Result<ChunkPage> list_all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                                    std::size_t limit) override {
    return listings_.all_chunks(ctx, from, limit);
  }
  Result<std::vector<SessionEntry>> list_sessions(Context const& ctx) override {
    return listings_.sessions(ctx);
  }
  Result<std::vector<Ino>> list_sustained(Context const& ctx, SessionId session,
                                          std::size_t limit) override {
    return listings_.sustained(ctx, session, limit);
  }
  Result<std::vector<DelfileEntry>> list_delfiles(Context const& ctx, std::int64_t before_sec,
                                                  std::size_t limit) override {
    return listings_.delfiles(ctx, before_sec, limit);
  }
  Result<std::vector<DelayedEntry>> list_delayed_slices(Context const& ctx, std::int64_t before_sec,
                                                        std::size_t limit) override {
    return listings_.delayed_slices(ctx, before_sec, limit);
  }
  Result<std::vector<DetachedEntry>> list_detached(Context const& ctx, std::int64_t before_sec,
                                                   std::size_t limit) override {
    return listings_.detached(ctx, before_sec, limit);
  }
  Result<std::vector<DelayedSlice>> list_garbage_slices(Context const& ctx,
                                                        std::size_t limit) override {
    return listings_.garbage_slices(ctx, limit);
  }
  Result<std::vector<Ino>> list_locked(Context const& ctx, SessionId session) override {
    return listings_.locked(ctx, session);
  }

  Result<IdRange> allocate_ids(Context const& ctx, IdKind kind, std::uint64_t count) override {
    auto const take = [&] {
      return update<IdRange>(ctx, kIdLane + static_cast<std::uint64_t>(kind), [&](View& view) {
        return kv::allocate_ids(view, layout_, kind, count);
      });
    };
    auto ids = take();
    // Nobody knows whether these were taken: others are as good.
    return failed_with(ids, Errc::timedout) ? take() : std::move(ids);
  }
  Result<Usage> read_usage(Context const& ctx) override {
    Usage usage;
    ZEST_CHECK(transactions_.read(ctx, [&](View& view) -> Result<void> {
      ZEST_TRY(usage, kv::read_usage(view, layout_));
      return {};
    }));
    return usage;
  }
  Result<void> add_usage(Context const& ctx, Usage delta) override {
    return change(ctx, kUsageLane, [&](View& view) { return kv::add_usage(view, layout_, delta); });
  }
  Result<std::vector<Ino>> add_dir_stats(Context const& ctx,
                                         std::span<std::pair<Ino, DirStat> const> deltas) override {
    std::vector<Ino> missing;
    for (; !deltas.empty(); deltas = deltas.subspan(std::min(kDeltasMax, deltas.size()))) {
      auto const part = deltas.first(std::min(kDeltasMax, deltas.size()));
      ZEST_TRY(auto const found, update<std::vector<Ino>>(ctx, kStatsLane, [&](View& view) {
                 return kv::add_dir_stats(view, layout_, part);
               }));
      missing.insert(missing.end(), found.begin(), found.end());
    }
    return missing;
  }
  Result<std::vector<QuotaEntry>> list_quotas(Context const& ctx) override {
    return listings_.quotas(ctx);
  }
  Result<void> add_quota_usage(Context const& ctx,
                               std::span<std::pair<QuotaKey, Usage> const> deltas) override {
    for (; !deltas.empty(); deltas = deltas.subspan(std::min(kDeltasMax, deltas.size()))) {
      auto const part = deltas.first(std::min(kDeltasMax, deltas.size()));
      ZEST_CHECK(change(ctx, kQuotaLane,
                        [&](View& view) { return kv::add_quota_usage(view, layout_, part); }));
    }
    return {};
  }
  Result<void> set_quota(Context const& ctx, QuotaKey const& key, Quota const& quota) override {
    return change(ctx, kQuotaLane,
                  [&](View& view) { return kv::set_quota(view, layout_, key, quota); });
  }
  Result<std::uint32_t> insert_acl(Context const& ctx, AclRule const& rule) override {
    return update<std::uint32_t>(ctx, kAclLane,
                                 [&](View& view) { return kv::insert_acl(view, layout_, rule); });
  }
  Result<std::vector<StoredAcl>> list_acls(Context const& ctx, std::uint32_t after) override {
    return listings_.acls(ctx, after);
  }
  Result<bool> take_lease(Context const& ctx, Lease lease, std::int64_t now_sec,
                          std::int64_t interval_sec) override {
    return update<bool>(ctx, 0, [&](View& view) {
      return kv::take_lease(view, layout_, lease, now_sec, interval_sec);
    });
  }

  Result<std::optional<std::string>> load_setting(Context const& ctx) override {
    std::optional<std::string> setting;
    ZEST_CHECK(transactions_.read(ctx, [&](View& view) -> Result<void> {
      setting.reset();
      if (auto const stored = view.get(layout_.key({.kind = KvKind::setting}))) {
        setting = *stored;
      }
      return {};
    }));
    return setting;
  }
  Result<void> initialize(Context const& ctx, std::string_view setting, Attr const& root,
                          std::optional<Attr> const& trash) override {
    return change(ctx, 0,
                  [&](View& view) { return kv::initialize(view, layout_, setting, root, trash); });
  }
  Result<void> reset(Context const& ctx) override {
    auto all = layout_.all("");
    kv::Transaction transaction;
    transaction.writes.emplace_back(
        kv::DeleteRange{.begin = std::move(all.begin), .end = std::move(all.end)});
    ZEST_TRY(auto const reply, store_->commit(ctx, transaction));
    cache_.clear();
    return reply.applied ? Result<void>() : Errc::io;
  }

  [[nodiscard]] std::uint64_t trips() const noexcept override { return store_->trips(); }

 private:
  Result<void> commit_whole(Context const& ctx, Commit const& commit) {
    return transactions_.run(
        ctx, {.body = [&](View& view) { return kv::run_commit(view, layout_, commit); },
              .lane = lane_of(commit),
              .weight = std::max(commit.conditions.size(), commit.changes.size()) + 1});
  }
  Result<void> commit_all(Context const& ctx, std::span<Commit const> commits) {
    for (auto const& commit : commits) {
      ZEST_CHECK(commit_whole(ctx, commit));
    }
    return {};
  }
  Result<void> commit_split(Context const& ctx, kv::SplitCommit const& split) {
    ZEST_CHECK(commit_all(ctx, split.references));
    auto result = commit_all(ctx, split.zeros);
    if (result.ok()) {
      result = commit_whole(ctx, split.rest);
    }
    if (!result.ok() && result.error().fault() != Fault::transient) {
      // What fails here leaves references too many, which is safe.
      static_cast<void>(commit_all(ctx, split.undo).ok());
    }
    return result;
  }

  /// Asks for the node of an entry together with the entry, where it is known which it was.
  void foresee(View& view, std::span<Key const> keys) {
    for (auto const& key : keys) {
      auto const* child = std::get_if<ChildKey>(&key);
      if (child == nullptr) {
        continue;
      }
      auto const edge = cache_.find(layout_.edge(child->parent, child->name));
      if (!edge || !edge->value) {
        continue;
      }
      if (auto const entry = decode_entry(*edge->value); entry.ok()) {
        static_cast<void>(view.get(layout_.node(entry->ino)));
      }
    }
  }

  Result<void> change(Context const& ctx, std::uint64_t lane, kv::Body const& body) {
    return transactions_.run(ctx, {.body = body, .lane = lane, .weight = 2});
  }
  template <class T, class Fn>
  Result<T> update(Context const& ctx, std::uint64_t lane, Fn const& body) {
    T value{};
    ZEST_CHECK(change(ctx, lane, [&](View& view) -> Result<void> {
      ZEST_TRY(value, body(view));
      return {};
    }));
    return value;
  }

  std::unique_ptr<kv::Store> store_;
  EngineCapabilities capabilities_;
  kv::Layout layout_;
  kv::Cache cache_;
  Rng rng_;
  kv::Transactions transactions_;
  kv::Listings listings_;
};

}  // namespace

std::unique_ptr<Engine> make_kv_engine(std::unique_ptr<kv::Store> store, KvEngineOptions options,
                                       Registry& metrics) {
  return std::make_unique<KvEngine>(std::move(store), std::move(options), metrics);
}

}  // namespace zest::meta

#include "tests/fault/faulty_engine.h"

#include <string>
#include <utility>

namespace zest::fault {
namespace {

Error refusal(std::string_view call) {
  return Error::transient(Errc::connrefused, std::string(call) + ": injected refusal");
}
Error silence(std::string_view call) {
  return Error::transient(Errc::timedout, std::string(call) + ": injected silence");
}

class FaultyEngine final : public meta::Engine {
 public:
  FaultyEngine(meta::Engine& inner, Plan* plan) : inner_(inner), plan_(plan) {}

  [[nodiscard]] meta::EngineCapabilities const& capabilities() const noexcept override {
    return inner_.capabilities();
  }
  [[nodiscard]] std::string_view name() const noexcept override { return inner_.name(); }

  Result<std::vector<meta::Value>> fetch(Context const& ctx,
                                         std::span<meta::Key const> keys) override {
    return call("fetch", [&] { return inner_.fetch(ctx, keys); });
  }
  Result<void> commit(Context const& ctx, meta::Commit const& commit) override {
    return call("commit", [&] { return inner_.commit(ctx, commit); });
  }
  Result<void> sync(Context const& ctx) override {
    return call("sync", [&] { return inner_.sync(ctx); });
  }

  Result<meta::DirPage> list_dir(Context const& ctx, meta::ListDir const& request) override {
    return call("list_dir", [&] { return inner_.list_dir(ctx, request); });
  }
  Result<std::vector<std::string>> list_xattrs(Context const& ctx, Ino ino) override {
    return call("list_xattrs", [&] { return inner_.list_xattrs(ctx, ino); });
  }
  Result<meta::ChunkPage> list_chunks(Context const& ctx, meta::ChunkKey from,
                                      std::size_t limit) override {
    return call("list_chunks", [&] { return inner_.list_chunks(ctx, from, limit); });
  }
  Result<meta::ChunkPage> list_all_chunks(Context const& ctx, std::optional<meta::ChunkKey> from,
                                          std::size_t limit) override {
    return call("list_all_chunks", [&] { return inner_.list_all_chunks(ctx, from, limit); });
  }
  Result<std::vector<meta::SessionEntry>> list_sessions(Context const& ctx) override {
    return call("list_sessions", [&] { return inner_.list_sessions(ctx); });
  }
  Result<std::vector<Ino>> list_sustained(Context const& ctx, SessionId session,
                                          std::size_t limit) override {
    return call("list_sustained", [&] { return inner_.list_sustained(ctx, session, limit); });
  }
  Result<std::vector<meta::DelfileEntry>> list_delfiles(Context const& ctx, std::int64_t before_sec,
                                                        std::size_t limit) override {
    return call("list_delfiles", [&] { return inner_.list_delfiles(ctx, before_sec, limit); });
  }
  Result<std::vector<meta::DelayedEntry>> list_delayed_slices(Context const& ctx,
                                                              std::int64_t before_sec,
                                                              std::size_t limit) override {
    return call("list_delayed_slices",
                [&] { return inner_.list_delayed_slices(ctx, before_sec, limit); });
  }
  Result<std::vector<meta::DetachedEntry>> list_detached(Context const& ctx,
                                                         std::int64_t before_sec,
                                                         std::size_t limit) override {
    return call("list_detached", [&] { return inner_.list_detached(ctx, before_sec, limit); });
  }
  Result<std::vector<DelayedSlice>> list_garbage_slices(Context const& ctx,
                                                        std::size_t limit) override {
    return call("list_garbage_slices", [&] { return inner_.list_garbage_slices(ctx, limit); });
  }
  Result<std::vector<Ino>> list_locked(Context const& ctx, SessionId session) override {
    return call("list_locked", [&] { return inner_.list_locked(ctx, session); });
  }

  Result<meta::IdRange> allocate_ids(Context const& ctx, meta::IdKind kind,
                                     std::uint64_t count) override {
    return call("allocate_ids", [&] { return inner_.allocate_ids(ctx, kind, count); });
  }
  Result<meta::Usage> read_usage(Context const& ctx) override {
    return call("read_usage", [&] { return inner_.read_usage(ctx); });
  }
  Result<void> add_usage(Context const& ctx, meta::Usage delta) override {
    return sum("add_usage", [&] { return inner_.add_usage(ctx, delta); });
  }
  Result<std::vector<Ino>> add_dir_stats(Context const& ctx,
                                         std::span<std::pair<Ino, DirStat> const> deltas) override {
    return sum("add_dir_stats", [&] { return inner_.add_dir_stats(ctx, deltas); });
  }
  Result<std::vector<meta::QuotaEntry>> list_quotas(Context const& ctx) override {
    return call("list_quotas", [&] { return inner_.list_quotas(ctx); });
  }
  Result<void> add_quota_usage(
      Context const& ctx, std::span<std::pair<meta::QuotaKey, meta::Usage> const> deltas) override {
    return sum("add_quota_usage", [&] { return inner_.add_quota_usage(ctx, deltas); });
  }
  Result<void> set_quota(Context const& ctx, meta::QuotaKey const& key,
                         Quota const& quota) override {
    return call("set_quota", [&] { return inner_.set_quota(ctx, key, quota); });
  }
  Result<std::uint32_t> insert_acl(Context const& ctx, AclRule const& rule) override {
    return call("insert_acl", [&] { return inner_.insert_acl(ctx, rule); });
  }
  Result<std::vector<meta::StoredAcl>> list_acls(Context const& ctx, std::uint32_t after) override {
    return call("list_acls", [&] { return inner_.list_acls(ctx, after); });
  }
  Result<bool> take_lease(Context const& ctx, meta::Lease lease, std::int64_t now_sec,
                          std::int64_t interval_sec) override {
    return call("take_lease", [&] { return inner_.take_lease(ctx, lease, now_sec, interval_sec); });
  }

  Result<std::optional<std::string>> load_setting(Context const& ctx) override {
    return call("load_setting", [&] { return inner_.load_setting(ctx); });
  }
  Result<void> initialize(Context const& ctx, std::string_view setting, Attr const& root,
                          std::optional<Attr> const& trash) override {
    return call("initialize", [&] { return inner_.initialize(ctx, setting, root, trash); });
  }
  Result<void> reset(Context const& ctx) override {
    return call("reset", [&] { return inner_.reset(ctx); });
  }
  void set_listener(meta::InvalidationListener* listener) override {
    inner_.set_listener(listener);
  }
  [[nodiscard]] std::uint64_t trips() const noexcept override { return inner_.trips(); }

 private:
  template <class Fn>
  auto call(std::string_view name, Fn const& fn) -> decltype(fn()) {
    switch (plan_ == nullptr ? Fault::none : plan_->draw()) {
      case Fault::none: return fn();
      case Fault::refused: return refusal(name);
      case Fault::timed_out: return silence(name);
      case Fault::lost_reply: break;
    }
    auto done = fn();
    if (!done.ok()) {
      return done;  // A refusal of the server itself; its loss would be the same as timed_out.
    }
    return silence(name);
  }
  template <class Fn>
  auto sum(std::string_view name, Fn const& fn) -> decltype(fn()) {
    return plan_ == nullptr || plan_->draw() == Fault::none ? fn() : refusal(name);
  }

  meta::Engine& inner_;
  Plan* plan_;
};

}  // namespace

void Plan::fail_nth(std::uint64_t nth, Fault fault, std::uint64_t times) {
  std::lock_guard const lock(mutex_);
  chances_ = {};
  nth_ = nth;
  nth_fault_ = fault;
  times_ = times;
  calls_ = 0;
}

void Plan::reseed(std::uint64_t seed) {
  std::lock_guard const lock(mutex_);
  rng_ = std::make_unique<Rng>(seed);
}

Fault Plan::draw_locked() {
  std::lock_guard const lock(mutex_);
  ++calls_;
  if (nth_ != 0) {
    return calls_ >= nth_ && calls_ < nth_ + times_ ? nth_fault_ : Fault::none;
  }
  auto const number = rng_->below(1000);
  if (number < chances_.refused) {
    return Fault::refused;
  }
  if (number < chances_.refused + chances_.lost_reply) {
    return Fault::lost_reply;
  }
  return number < chances_.refused + chances_.lost_reply + chances_.timed_out ? Fault::timed_out
                                                                              : Fault::none;
}

Fault Plan::draw() {
  if (!on_.load(std::memory_order_acquire)) {
    return Fault::none;
  }
  auto const fault = draw_locked();
  injected_.fetch_add(fault == Fault::none ? 0 : 1);
  return fault;
}

std::unique_ptr<meta::Engine> make_faulty_engine(meta::Engine& inner, Plan* plan) {
  return std::make_unique<FaultyEngine>(inner, plan);
}

}  // namespace zest::fault

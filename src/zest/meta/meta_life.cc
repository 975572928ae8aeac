// The facade: start, heartbeat, flushing, stop.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <utility>

#include "zest/meta/meta_impl.h"

namespace zest::meta {
namespace {

using std::chrono::seconds;

// Usage and directory statistics are behind by this much at most (format/06 §3).
constexpr Duration kFlushPeriod = seconds(1);
// A read-only mount, or one that never expires, looks at the Setting this often.
constexpr Duration kHeartbeatDefault = seconds(12);
// The same for quotas, in flush periods.
constexpr unsigned kFlushesPerQuotaFlush = 3;

Context job_context(Scope const& jobs, TimePoint deadline) {
  Context ctx;
  ctx.stop = jobs.token();
  ctx.deadline = deadline;
  return ctx;
}

}  // namespace

Duration Meta::Impl::jittered(Duration duration) {
  auto const span = duration.count() / 10;  // ±5 %
  if (span <= 0) {
    return duration;
  }
  auto const part = static_cast<Duration::rep>(rng.below(static_cast<std::uint64_t>(span) + 1));
  return Duration(duration.count() - span / 2 + part);
}

Result<bool> Meta::Impl::take_lease(Context const& ctx, Lease lease, Duration interval) {
  auto const interval_sec = std::chrono::duration_cast<seconds>(interval).count();
  return engine.take_lease(ctx, lease, clock.wall().sec, interval_sec);
}

Result<void> Meta::Impl::reload_setting(Context const& ctx) {
  ZEST_TRY(auto const text, engine.load_setting(ctx));
  if (!text.has_value()) {
    dead.store(true, std::memory_order_release);
    log.error("the database holds no volume any more; this mount is at its end", {});
    return {};
  }
  ZEST_TRY(auto fresh, decode_setting(*text));
  auto const old = current_setting();
  if (fresh.uuid != old->uuid || fresh.meta_version > kMetaVersionMax) {
    dead.store(true, std::memory_order_release);
    log.error("the database holds another volume now; this mount is at its end",
              {{"uuid", fresh.uuid}, {"meta_version", fresh.meta_version}});
    return {};
  }
  if (!old->key_encrypted) {
    ZEST_CHECK(decrypt_secrets(fresh));  // The caller works with plain secrets.
  }
  if (fresh != *old) {
    log.info("the volume's setting changed", {{"name", fresh.name}});
    auto next = std::make_shared<Setting const>(std::move(fresh));
    std::lock_guard const lock(mutex);
    setting = std::move(next);
  }
  configure_quotas();
  return {};
}

Result<void> Meta::Impl::beat(Context const& ctx) {
  auto const before = session.id();
  ZEST_TRY(bool const reopened, session.beat(ctx));
  if (reopened) {
    open_files.forget_all();
    runner.hints().everything_changed();
    std::lock_guard const lock(listening);
    if (session_listener) {
      session_listener(before);
    }
  }
  return {};
}

void Meta::Impl::heartbeat(Context const& ctx) {
  auto const report = [&](std::string_view what, Result<void> const& result) {
    if (!result.ok() && !ctx.stop.stop_requested()) {
      log.warn("heartbeat failed, trying again at the next",
               {{"step", what}, {"error", result.error().text()}});
    }
  };
  if (session.id().value != 0) {
    report("session", beat(ctx));
    report("open files", adopt_deleted(ctx));
  }
  report("setting", reload_setting(ctx));
  auto usage = statistics.refresh(ctx);
  if (knows_quotas) {
    report("quotas", quotas.load(ctx));
  }
  report("usage", usage.ok() ? Result<void>() : Result<void>(std::move(usage).error()));
  if (config.background_jobs && session.id().value != 0 && alive()) {
    auto leased = take_lease(ctx, Lease::cleanup_sessions, config.heartbeat * 9 / 10);
    if (leased.ok() && *leased) {
      report("stale sessions", session.clean_stale(ctx));
    }
  }
}

void Meta::Impl::heartbeat_loop() {
  auto const period = config.heartbeat > Duration::zero() ? config.heartbeat : kHeartbeatDefault;
  auto& loop = *Loop::current();
  while (!dead.load(std::memory_order_acquire)) {
    if (!session.wait_for_beat(job_context(jobs, kNever), jittered(period)).ok()) {
      return;
    }
    // An engine that does not answer must not hold up the heartbeats after it.
    heartbeat(job_context(jobs, loop.now() + period * 2));
  }
}

void Meta::Impl::flush_loop() {
  auto& loop = *Loop::current();
  auto const ctx = job_context(jobs, kNever);
  for (unsigned round = 1; loop.sleep_for(ctx, kFlushPeriod).ok(); ++round) {
    auto flushed = statistics.flush(ctx);
    if (flushed.ok() && round % kFlushesPerQuotaFlush == 0) {
      flushed = quotas.flush(ctx);
    }
    if (!flushed.ok() && !ctx.stop.stop_requested()) {
      log.warn("usage could not be written, trying again", {{"error", flushed.error().text()}});
    }
  }
}

Result<void> Meta::Impl::flush_counts(Context const& ctx) {
  auto flushed = statistics.flush(ctx);
  auto accounts = quotas.flush(ctx);
  if (!flushed.ok()) {
    return flushed;
  }
  return accounts;
}

Result<void> Meta::Impl::start(Context const& ctx) {
  if (started) {
    return Error(Errc::inval, Fault::bug, "metadata client is started twice");
  }
  ZEST_CHECK(statistics.refresh(ctx));
  auto loaded = quotas.load(ctx);
  if (!loaded.ok() && !config.read_only) {
    return loaded;
  }
  if (!loaded.ok()) {
    // A volume of an older client may lack them, and a read-only client adds nothing to it.
    log.info("quotas are not shown", {{"error", loaded.error().text()}});
  }
  knows_quotas = loaded.ok();
  if (!config.read_only) {
    ZEST_CHECK(session.open(ctx));
    jobs.spawn([this] { flush_loop(); });
  }
  jobs.spawn([this] { heartbeat_loop(); });
  started = true;
  return {};
}

Result<void> Meta::Impl::stop(Context const& ctx) {
  jobs.request_stop();
  jobs.join();
  if (!started || config.read_only || dead.load(std::memory_order_acquire)) {
    return {};
  }
  started = false;
  auto flushed = flush_counts(ctx);
  auto closed = session.close(ctx);
  // Deleting sustained inodes changed usage again.
  if (flushed.ok()) {
    flushed = flush_counts(ctx);
  }
  if (!closed.ok()) {
    return closed;
  }
  return flushed;
}

void Meta::set_session_listener(std::function<void(SessionId ended)> listener) {
  std::lock_guard const lock(impl_->listening);
  impl_->session_listener = std::move(listener);
}

Result<void> Meta::start(Context const& ctx) {
  return impl_->start(ctx);
}
Result<void> Meta::stop(Context const& ctx) {
  return impl_->stop(ctx);
}
Result<void> Meta::flush_stats(Context const& ctx) {
  return impl_->flush_counts(ctx);
}

}  // namespace zest::meta

#include "zest/chunk/block_io.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "zest/base/assert.h"
#include "zest/runtime/loop.h"

namespace zest {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Pauses between tries: 100 ms, doubling, at most 30 s; ten of them bridge over a minute.
constexpr Duration kFirstPause = milliseconds(100);
constexpr Duration kLongestPause = seconds(30);

Compression compression_of(BlockStoreConfig const& config) {
  auto const kind = parse_compression(config.compression);
  ZEST_ASSERT(kind.ok());  // the Setting was validated when it was decoded
  return *kind;
}

Histogram& durations(Registry& metrics, std::string_view labels) {
  return metrics.histogram("object_request_durations_histogram_seconds",
                           "Durations of object requests.", exponential_bounds(0.01, 1.5, 25),
                           labels);
}
Counter& data_bytes(Registry& metrics, std::string_view labels) {
  return metrics.counter("object_request_data_bytes", "Bytes of object requests.", labels);
}

/// Did the caller give up, rather than the store?
bool caller_gave_up(Context const& ctx) noexcept {
  return ctx.stop.stop_requested() || Loop::current()->now() >= ctx.deadline;
}

bool worth_a_retry(Error const& error) noexcept {
  switch (error.fault()) {
    case Fault::transient:
    case Fault::corrupt:
    case Fault::conflict: return true;
    case Fault::semantic:
    case Fault::bug:
      // The try's own time-out arrives as a plain ETIMEDOUT.
      return error.code() == Errc::timedout;
  }
  return false;
}

/// What the caller is told in the end.
Error final_error(Error&& error, std::string_view method, std::string_view key) {
  std::string what(method);
  what += ' ';
  what += key;
  switch (error.code()) {
    case Errc::noent: return std::move(error);
    case Errc::nospc:
    case Errc::dquot:
    case Errc::rofs: return std::move(error).with(what);
    default: {
      auto const fault = error.fault();
      return {Errc::io, fault, std::move(error).with(what).text()};
    }
  }
}

Error short_object(std::size_t expected, std::size_t got) {
  return Error::corrupt("the object has " + std::to_string(got) + " bytes where " +
                        std::to_string(expected) + " were expected");
}

}  // namespace

BlockIo::BlockIo(ObjectStore& store, BlockStoreConfig const& config, BlockingPool& cpu_pool,
                 Rng& rng, Logger& log, Registry& metrics)
    : store_(store),
      config_(config),
      compression_(compression_of(config)),
      cpu_pool_(cpu_pool),
      rng_(rng),
      log_(log),
      uploads_(std::max<std::size_t>(config.uploads_max, 1)),
      downloads_(std::max<std::size_t>(config.downloads_max, 1)),
      deletes_(std::max<std::size_t>(config.uploads_max, 1)),
      errors_(metrics.counter("object_request_errors", "Object requests that failed.")),
      uploading_(metrics.gauge("object_request_uploading", "Uploads under way.")),
      get_method_{"GET", config.get_timeout, downloads_, durations(metrics, R"(method="GET")"),
                  data_bytes(metrics, R"(method="GET")")},
      put_method_{"PUT", config.put_timeout, uploads_, durations(metrics, R"(method="PUT")"),
                  data_bytes(metrics, R"(method="PUT")")},
      delete_method_{"DELETE", config.put_timeout, deletes_,
                     durations(metrics, R"(method="DELETE")"),
                     data_bytes(metrics, R"(method="DELETE")")} {}

bool BlockIo::ranges() const noexcept {
  return compression_ == Compression::none && store_.capabilities().ranged_get;
}

bool BlockIo::near() const noexcept {
  return store_.capabilities().near;
}

std::string BlockIo::key_of(BlockRef const& ref) const {
  return block_key(ref.id, ref.index, ref.size, config_.hash_prefix);
}

Result<void> BlockIo::run(Context const& ctx, Method& method, std::string_view key,
                          Attempt const& attempt) {
  for (int tries = 0;; ++tries) {
    auto result = run_once(ctx, method, attempt);
    if (result.ok()) {
      return {};
    }
    auto& error = result.error();
    if (caller_gave_up(ctx)) {
      return ctx.stop.stop_requested() ? Errc::intr : Errc::timedout;
    }
    if (error.code() == Errc::noent) {
      return result;
    }
    errors_.add();
    if (!worth_a_retry(error) || tries >= config_.retries) {
      return final_error(std::move(error), method.name, key);
    }
    log_.warn(
        "object request failed, trying again",
        {{"method", method.name}, {"key", key}, {"attempt", tries + 1}, {"error", error.text()}});
    ZEST_CHECK(pause(ctx, tries));
  }
}

Result<void> BlockIo::run_once(Context const& ctx, Method& method, Attempt const& attempt) {
  // A slot is held for one try only: pauses leave it to others.
  ZEST_CHECK(method.slots.acquire(ctx));
  auto* const loop = Loop::current();
  auto const start = loop->now();
  Context inner = ctx;
  inner.deadline = std::min(ctx.deadline, start + method.timeout);
  auto result = attempt(inner);
  method.slots.release();
  method.durations.observe(std::chrono::duration<double>(loop->now() - start).count());
  return result;
}

/// A random time between half and the whole of the pause, so that clients do not come in step.
Result<void> BlockIo::pause(Context const& ctx, int attempt) {
  auto const longest =
      std::min(kLongestPause, kFirstPause * (std::int64_t{1} << std::min(attempt, 20)));
  auto const half = static_cast<std::uint64_t>(longest.count() / 2);
  auto const jitter = static_cast<std::int64_t>(rng_.below(half + 1));
  return Loop::current()->sleep_for(ctx, longest / 2 + Duration(jitter));
}

Result<void> BlockIo::get(Context const& ctx, BlockRef const& ref, ByteSpan out) {
  auto const key = key_of(ref);
  return run(ctx, get_method_, key, [&](Context const& inner) {
    return compression_ == Compression::none ? get_exact(inner, key, {}, out)
                                             : get_compressed(inner, key, out);
  });
}

Result<void> BlockIo::get_range(Context const& ctx, BlockRef const& ref, std::uint32_t offset,
                                ByteSpan out) {
  ZEST_ASSERT(ranges() && offset + out.size() <= ref.size);
  auto const key = key_of(ref);
  return run(ctx, get_method_, key, [&](Context const& inner) {
    return get_exact(inner, key, {.offset = offset, .length = out.size()}, out);
  });
}

Result<void> BlockIo::get_exact(Context const& ctx, std::string const& key, ByteRange range,
                                ByteSpan out) {
  auto got = store_.get(ctx, key, range, out);
  if (!got.ok()) {
    // A range behind the end means that the object is shorter than its name says.
    if (got.error().code() == Errc::inval) {
      return short_object(range.offset + out.size(), 0);
    }
    return std::move(got).error();
  }
  get_method_.bytes.add(*got);
  if (*got != out.size()) {
    return short_object(range.offset + out.size(), range.offset + *got);
  }
  return {};
}

Result<void> BlockIo::get_compressed(Context const& ctx, std::string const& key, ByteSpan out) {
  // One byte more than a block can have compressed, to notice objects that are too long.
  std::vector<std::byte> stored(compress_bound(compression_, out.size()) + 1);
  ZEST_TRY(auto const got, store_.get(ctx, key, {}, stored));
  get_method_.bytes.add(got);
  return cpu_pool_.run([&] { return decompress(compression_, ByteView(stored).first(got), out); });
}

Result<void> BlockIo::put(Context const& ctx, BlockRef const& ref,
                          std::span<ByteView const> parts) {
  struct Count {
    explicit Count(Gauge& g) : gauge(g) { gauge.add(1); }
    ~Count() { gauge.add(-1); }
    Gauge& gauge;
  } const count(uploading_);
  auto const key = key_of(ref);
  std::vector<std::byte> compressed;
  return run(ctx, put_method_, key, [&](Context const& inner) -> Result<void> {
    ByteView single[1];
    auto stored = parts;
    if (compression_ != Compression::none) {
      if (compressed.empty()) {
        ZEST_TRY(auto const n, compress_parts(parts, ref.size, compressed));
        compressed.resize(n);
      }
      single[0] = compressed;
      stored = single;
    }
    ZEST_CHECK(store_.put(inner, key, stored));
    for (auto const part : stored) {
      put_method_.bytes.add(part.size());
    }
    return {};
  });
}

/// On the cpu pool: gathers the parts where they are several, and compresses them.
Result<std::size_t> BlockIo::compress_parts(std::span<ByteView const> parts, std::size_t size,
                                            std::vector<std::byte>& out) {
  return cpu_pool_.run([&]() -> Result<std::size_t> {
    std::vector<std::byte> gathered;
    auto plain = parts.front();
    if (parts.size() > 1) {
      gathered.reserve(size);
      for (auto const part : parts) {
        gathered.insert(gathered.end(), part.begin(), part.end());
      }
      plain = gathered;
    }
    out.resize(compress_bound(compression_, size));
    return compress(compression_, plain, out);
  });
}

Result<void> BlockIo::remove(Context const& ctx, BlockRef const& ref) {
  auto const key = key_of(ref);
  auto result = run(ctx, delete_method_, key,
                    [&](Context const& inner) { return store_.remove(inner, key); });
  if (failed_with(result, Errc::noent)) {
    return {};
  }
  return result;
}

Result<void> BlockIo::sync(Context const& ctx, std::span<BlockRef const> refs) {
  if (store_.capabilities().durable_put) {
    return {};
  }
  std::vector<std::string> keys;
  keys.reserve(refs.size());
  for (auto const& ref : refs) {
    keys.push_back(key_of(ref));
  }
  if (auto result = store_.sync(ctx, keys); !result.ok()) {
    errors_.add();
    return final_error(std::move(result).error(), "SYNC", keys.empty() ? "" : keys.front());
  }
  return {};
}

}  // namespace zest

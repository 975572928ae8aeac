#include "zest/object/testing/faulty_store.h"

#include <utility>

namespace zest::testing {

template <class Fn>
auto FaultyStore::call(StoreOp op, std::string_view key, Fn&& fn) -> decltype(fn()) {
  auto& count = counts_[static_cast<std::size_t>(op)];
  auto const number = ++count.calls;
  auto const running = ++count.running;
  auto peak = count.peak.load();
  while (peak < running && !count.peak.compare_exchange_weak(peak, running)) {
  }
  struct Leave {
    std::atomic<std::uint64_t>& running;
    ~Leave() { --running; }
  } const leave{count.running};
  if (before) {
    ZEST_CHECK(before(op, key, number));
  }
  auto result = fn();
  if (result.ok() && after) {
    ZEST_CHECK(after(op, key, number));
  }
  return result;
}

void FaultyStore::fail_nth(StoreOp op, std::uint64_t nth, Errc code, Fault fault) {
  before = [=](StoreOp called, std::string_view, std::uint64_t number) -> Result<void> {
    if (called == op && number == nth) {
      return Error(code, fault, "injected");
    }
    return {};
  };
}

void FaultyStore::fail_all(StoreOp op, Errc code, Fault fault) {
  before = [=](StoreOp called, std::string_view, std::uint64_t) -> Result<void> {
    if (called == op) {
      return Error(code, fault, "injected");
    }
    return {};
  };
}

std::uint64_t FaultyStore::calls(StoreOp op) const noexcept {
  return counts_[static_cast<std::size_t>(op)].calls;
}
std::uint64_t FaultyStore::peak(StoreOp op) const noexcept {
  return counts_[static_cast<std::size_t>(op)].peak;
}

Result<void> FaultyStore::create(Context const& ctx) {
  return call(StoreOp::create, "", [&] { return inner_.create(ctx); });
}
Result<std::size_t> FaultyStore::get(Context const& ctx, std::string_view key, ByteRange range,
                                     ByteSpan out) {
  return call(StoreOp::get, key, [&]() -> Result<std::size_t> {
    ZEST_TRY(auto got, inner_.get(ctx, key, range, out));
    bytes_got_ += got;
    return distort ? distort(key, range, out, got) : got;
  });
}
Result<void> FaultyStore::put(Context const& ctx, std::string_view key,
                              std::span<ByteView const> parts) {
  return call(StoreOp::put, key, [&] { return inner_.put(ctx, key, parts); });
}
Result<void> FaultyStore::remove(Context const& ctx, std::string_view key) {
  return call(StoreOp::remove, key, [&] { return inner_.remove(ctx, key); });
}
Result<ObjectInfo> FaultyStore::head(Context const& ctx, std::string_view key) {
  return call(StoreOp::head, key, [&] { return inner_.head(ctx, key); });
}
Result<ObjectPage> FaultyStore::list(Context const& ctx, ListObjects const& request) {
  return call(StoreOp::list, request.prefix, [&] { return inner_.list(ctx, request); });
}
Result<void> FaultyStore::sync(Context const& ctx, std::span<std::string const> keys) {
  return call(StoreOp::sync, keys.empty() ? "" : keys.front(),
              [&] { return inner_.sync(ctx, keys); });
}
Result<void> FaultyStore::copy(Context const& ctx, CopyObject const& request) {
  return call(StoreOp::copy, request.to, [&] { return inner_.copy(ctx, request); });
}
Result<Upload> FaultyStore::create_upload(Context const& ctx, std::string_view key) {
  return call(StoreOp::upload, key, [&] { return inner_.create_upload(ctx, key); });
}
Result<UploadedPart> FaultyStore::upload_part(Context const& ctx, Upload const& upload,
                                              std::uint32_t number,
                                              std::span<ByteView const> parts) {
  return call(StoreOp::upload, upload.key,
              [&] { return inner_.upload_part(ctx, upload, number, parts); });
}
Result<void> FaultyStore::complete_upload(Context const& ctx, Upload const& upload,
                                          std::span<UploadedPart const> parts) {
  return call(StoreOp::upload, upload.key,
              [&] { return inner_.complete_upload(ctx, upload, parts); });
}
Result<void> FaultyStore::abort_upload(Context const& ctx, Upload const& upload) {
  return call(StoreOp::upload, upload.key, [&] { return inner_.abort_upload(ctx, upload); });
}

}  // namespace zest::testing

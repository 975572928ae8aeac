// For tests: a store that fails, lies, delays and counts on command.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "zest/object/store.h"

namespace zest::testing {

enum class StoreOp : std::uint8_t { create, get, put, remove, head, list, sync, copy, upload };
constexpr std::size_t kStoreOpCount = 9;

/// Passes calls on to `inner`. Set the hooks before use by several fibers; hooks run on the calling
/// fiber and may suspend.
class FaultyStore final : public ObjectStore {
 public:
  explicit FaultyStore(ObjectStore& inner) : inner_(inner) {}

  /// Called before a call with its number among the calls of its kind (from 1); an error is
  /// returned instead of making the call.
  std::function<Result<void>(StoreOp, std::string_view key, std::uint64_t number)> before;
  /// Called after a call succeeded; an error is returned in spite of the effect ("lost reply").
  std::function<Result<void>(StoreOp, std::string_view key, std::uint64_t number)> after;
  /// May change what get() returns: the bytes and their count ("short read", "lying length").
  std::function<std::size_t(std::string_view key, ByteRange range, ByteSpan out, std::size_t got)>
      distort;

  /// The `nth` call of `op` (from 1) fails so; others pass.
  void fail_nth(StoreOp op, std::uint64_t nth, Errc code, Fault fault);
  /// Every call of `op` fails so.
  void fail_all(StoreOp op, Errc code, Fault fault);

  [[nodiscard]] std::uint64_t calls(StoreOp op) const noexcept;
  /// Most calls of `op` that were under way at once.
  [[nodiscard]] std::uint64_t peak(StoreOp op) const noexcept;
  [[nodiscard]] std::uint64_t bytes_got() const noexcept { return bytes_got_; }

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return capabilities_override ? *capabilities_override : inner_.capabilities();
  }
  StoreCapabilities const* capabilities_override = nullptr;

  [[nodiscard]] std::string describe() const override { return "faulty " + inner_.describe(); }
  Result<void> create(Context const& ctx) override;
  Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                          ByteSpan out) override;
  Result<void> put(Context const& ctx, std::string_view key,
                   std::span<ByteView const> parts) override;
  Result<void> remove(Context const& ctx, std::string_view key) override;
  Result<ObjectInfo> head(Context const& ctx, std::string_view key) override;
  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override;
  Result<void> sync(Context const& ctx, std::span<std::string const> keys) override;
  Result<void> copy(Context const& ctx, CopyObject const& request) override;
  Result<Upload> create_upload(Context const& ctx, std::string_view key) override;
  Result<UploadedPart> upload_part(Context const& ctx, Upload const& upload, std::uint32_t number,
                                   std::span<ByteView const> parts) override;
  Result<void> complete_upload(Context const& ctx, Upload const& upload,
                               std::span<UploadedPart const> parts) override;
  Result<void> abort_upload(Context const& ctx, Upload const& upload) override;

 private:
  template <class Fn>
  auto call(StoreOp op, std::string_view key, Fn&& fn) -> decltype(fn());

  struct Count {
    std::atomic<std::uint64_t> calls{0};
    std::atomic<std::uint64_t> running{0};
    std::atomic<std::uint64_t> peak{0};
  };
  ObjectStore& inner_;
  std::array<Count, kStoreOpCount> counts_;
  std::atomic<std::uint64_t> bytes_got_{0};
};

}  // namespace zest::testing

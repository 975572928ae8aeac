#include "zest/object/encrypt/encrypt_store.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace zest {
namespace {

/// Most bytes of an object that is read: far more than a block may have, and little enough that a
/// foreign object below the volume's keys can't take all memory.
constexpr std::uint64_t kObjectBytesMax = std::uint64_t{256} << 20;

class EncryptStore final : public SinglePutStore {
 public:
  EncryptStore(std::unique_ptr<ObjectStore> store, std::unique_ptr<Sealer> sealer,
               BlockingPool& pool)
      : store_(std::move(store)), sealer_(std::move(sealer)), pool_(pool) {
    capabilities_ = store_->capabilities();
    capabilities_.ranged_get = false;
    capabilities_.multipart = false;
    capabilities_.part_bytes_min = 0;
    capabilities_.parts_max = 0;
  }

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string describe() const override {
    return store_->describe() + " (encrypted)";
  }
  Result<void> create(Context const& ctx) override { return store_->create(ctx); }

  Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    auto const wanted = std::min<std::uint64_t>(range.length, out.size());
    ZEST_TRY(auto object, whole(ctx, key, range.offset, wanted));
    auto opened = pool_.run([&] { return sealer_->open(object); });
    if (!opened.ok()) {
      return std::move(opened).error().with("object " + std::string(key) + " of " +
                                            store_->describe() + " cannot be decrypted");
    }
    if (range.offset > 0 && range.offset >= opened->size()) {
      return Errc::inval;
    }
    auto const from = opened->subspan(range.offset);
    auto const count = std::min<std::size_t>(wanted, from.size());
    std::copy_n(from.begin(), count, out.begin());
    return count;
  }

  Result<void> put(Context const& ctx, std::string_view key,
                   std::span<ByteView const> parts) override {
    if (std::ranges::all_of(parts, [](ByteView part) { return part.empty(); })) {
      return Error(Errc::inval, Fault::semantic,
                   "object " + std::string(key) + " is empty, which cannot be encrypted");
    }
    ZEST_TRY(auto const sealed, pool_.run([&] { return sealer_->seal(parts); }));
    ByteView const whole[] = {as_bytes(sealed)};
    return store_->put(ctx, key, whole);
  }

  Result<void> remove(Context const& ctx, std::string_view key) override {
    return store_->remove(ctx, key);
  }
  Result<ObjectInfo> head(Context const& ctx, std::string_view key) override {
    return store_->head(ctx, key);
  }
  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override {
    return store_->list(ctx, request);
  }
  Result<void> sync(Context const& ctx, std::span<std::string const> keys) override {
    return store_->sync(ctx, keys);
  }
  Result<void> copy(Context const& ctx, CopyObject const& request) override {
    return store_->copy(ctx, request);
  }

 private:
  /// The stored bytes. What is asked for is nearly always a whole block, so its size is a good
  /// guess and one request enough; a full buffer means that there may be more.
  Result<std::vector<std::byte>> whole(Context const& ctx, std::string_view key,
                                       std::uint64_t offset, std::uint64_t wanted) {
    auto const room = kObjectBytesMax - sealer_->overhead() - 1;
    auto const guess = std::min(std::min(offset, room) + wanted, room) + sealer_->overhead() + 1;
    std::vector<std::byte> object(guess);
    ZEST_TRY(auto got, store_->get(ctx, key, {}, object));
    if (got == object.size()) {
      ZEST_TRY(auto const info, store_->head(ctx, key));
      if (info.size > kObjectBytesMax) {
        return Error(Errc::fbig, Fault::semantic,
                     "object " + std::string(key) + " of " + store_->describe() +
                         " is too large to be decrypted in memory");
      }
      object.resize(std::max<std::size_t>(info.size, object.size()));
      ZEST_TRY(got, store_->get(ctx, key, {}, object));
    }
    object.resize(got);
    return object;
  }

  std::unique_ptr<ObjectStore> store_;
  std::unique_ptr<Sealer> const sealer_;
  BlockingPool& pool_;
  StoreCapabilities capabilities_;
};

}  // namespace

std::unique_ptr<ObjectStore> make_encrypt_store(std::unique_ptr<ObjectStore> store,
                                                std::unique_ptr<Sealer> sealer,
                                                BlockingPool& pool) {
  return std::make_unique<EncryptStore>(std::move(store), std::move(sealer), pool);
}

}  // namespace zest

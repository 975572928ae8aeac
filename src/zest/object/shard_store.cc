#include "zest/object/shard_store.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "zest/base/assert.h"
#include "zest/format/object_name.h"

namespace zest {
namespace {

class ShardStore final : public ObjectStore {
 public:
  explicit ShardStore(std::vector<std::unique_ptr<ObjectStore>> stores)
      : stores_(std::move(stores)) {
    ZEST_ASSERT(!stores_.empty());
    capabilities_ = stores_.front()->capabilities();
    capabilities_.copy = false;
  }

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string describe() const override {
    return "shard" + std::to_string(stores_.size()) + "://" + stores_.front()->describe();
  }
  Result<void> create(Context const& ctx) override {
    for (auto const& store : stores_) {
      ZEST_CHECK(store->create(ctx));
    }
    return {};
  }
  Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    return of(key).get(ctx, key, range, out);
  }
  Result<void> put(Context const& ctx, std::string_view key,
                   std::span<ByteView const> parts) override {
    return of(key).put(ctx, key, parts);
  }
  Result<void> remove(Context const& ctx, std::string_view key) override {
    return of(key).remove(ctx, key);
  }
  Result<ObjectInfo> head(Context const& ctx, std::string_view key) override {
    return of(key).head(ctx, key);
  }
  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override;

  Result<void> sync(Context const& ctx, std::span<std::string const> keys) override {
    std::vector<std::vector<std::string>> parts(stores_.size());
    for (auto const& key : keys) {
      parts[index_of(key)].push_back(key);
    }
    for (std::size_t i = 0; i < stores_.size(); ++i) {
      if (!parts[i].empty()) {
        ZEST_CHECK(stores_[i]->sync(ctx, parts[i]));
      }
    }
    return {};
  }
  Result<void> copy(Context const&, CopyObject const&) override { return Errc::notsup; }
  Result<Upload> create_upload(Context const& ctx, std::string_view key) override {
    return of(key).create_upload(ctx, key);
  }
  Result<UploadedPart> upload_part(Context const& ctx, Upload const& upload, std::uint32_t number,
                                   std::span<ByteView const> parts) override {
    return of(upload.key).upload_part(ctx, upload, number, parts);
  }
  Result<void> complete_upload(Context const& ctx, Upload const& upload,
                               std::span<UploadedPart const> parts) override {
    return of(upload.key).complete_upload(ctx, upload, parts);
  }
  Result<void> abort_upload(Context const& ctx, Upload const& upload) override {
    return of(upload.key).abort_upload(ctx, upload);
  }

 private:
  [[nodiscard]] std::size_t index_of(std::string_view key) const noexcept {
    return shard_of(key, static_cast<std::uint32_t>(stores_.size()));
  }
  [[nodiscard]] ObjectStore& of(std::string_view key) const noexcept {
    return *stores_[index_of(key)];
  }

  std::vector<std::unique_ptr<ObjectStore>> const stores_;
  StoreCapabilities capabilities_;
};

// A shard that has more says nothing about keys behind its last one. So the page ends with the
// smallest of these last keys: everything up to there is known of all shards.
Result<ObjectPage> ShardStore::list(Context const& ctx, ListObjects const& request) {
  auto inner = request;
  inner.limit = request.limit / stores_.size() + 1;
  std::optional<std::string> known_to;
  ObjectPage merged;
  for (auto const& store : stores_) {
    ZEST_TRY(auto page, store->list(ctx, inner));
    if (page.more) {
      if (page.objects.empty()) {
        return Error::corrupt("a listing of " + store->describe() + " has no end");
      }
      auto const& last = page.objects.back().key;
      known_to = known_to ? std::min(*known_to, last) : last;
      merged.more = true;
    }
    std::ranges::move(page.objects, std::back_inserter(merged.objects));
  }
  std::ranges::sort(merged.objects, {}, &ObjectInfo::key);
  if (known_to) {
    auto const beyond = std::ranges::upper_bound(merged.objects, *known_to, {}, &ObjectInfo::key);
    merged.objects.erase(beyond, merged.objects.end());
  }
  if (merged.objects.size() > request.limit) {
    merged.objects.resize(request.limit);
    merged.more = true;
  }
  return merged;
}

}  // namespace

std::unique_ptr<ObjectStore> make_shard_store(std::vector<std::unique_ptr<ObjectStore>> stores) {
  return std::make_unique<ShardStore>(std::move(stores));
}

}  // namespace zest

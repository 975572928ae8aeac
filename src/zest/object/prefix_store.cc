#include "zest/object/prefix_store.h"

#include <utility>
#include <vector>

namespace zest {
namespace {

class PrefixStore final : public ObjectStore {
 public:
  PrefixStore(std::unique_ptr<ObjectStore> store, std::string prefix)
      : store_(std::move(store)), prefix_(std::move(prefix)) {}

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return store_->capabilities();
  }
  [[nodiscard]] std::string describe() const override { return store_->describe() + prefix_; }
  Result<void> create(Context const& ctx) override { return store_->create(ctx); }
  Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    return store_->get(ctx, full(key), range, out);
  }
  Result<void> put(Context const& ctx, std::string_view key,
                   std::span<ByteView const> parts) override {
    return store_->put(ctx, full(key), parts);
  }
  Result<void> remove(Context const& ctx, std::string_view key) override {
    return store_->remove(ctx, full(key));
  }
  Result<ObjectInfo> head(Context const& ctx, std::string_view key) override {
    ZEST_TRY(auto info, store_->head(ctx, full(key)));
    info.key = key;
    return info;
  }
  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override {
    ListObjects const inner{.prefix = full(request.prefix),
                            .after = request.after.empty() ? std::string() : full(request.after),
                            .limit = request.limit};
    ZEST_TRY(auto page, store_->list(ctx, inner));
    for (auto& object : page.objects) {
      object.key.erase(0, prefix_.size());
    }
    return page;
  }
  Result<void> sync(Context const& ctx, std::span<std::string const> keys) override {
    std::vector<std::string> full_keys;
    full_keys.reserve(keys.size());
    for (auto const& key : keys) {
      full_keys.push_back(full(key));
    }
    return store_->sync(ctx, full_keys);
  }
  Result<void> copy(Context const& ctx, CopyObject const& request) override {
    auto const from = full(request.from);
    auto const to = full(request.to);
    return store_->copy(ctx, {.from = from, .to = to});
  }
  Result<Upload> create_upload(Context const& ctx, std::string_view key) override {
    ZEST_TRY(auto upload, store_->create_upload(ctx, full(key)));
    upload.key = key;
    return upload;
  }
  Result<UploadedPart> upload_part(Context const& ctx, Upload const& upload, std::uint32_t number,
                                   std::span<ByteView const> parts) override {
    return store_->upload_part(ctx, full(upload), number, parts);
  }
  Result<void> complete_upload(Context const& ctx, Upload const& upload,
                               std::span<UploadedPart const> parts) override {
    return store_->complete_upload(ctx, full(upload), parts);
  }
  Result<void> abort_upload(Context const& ctx, Upload const& upload) override {
    return store_->abort_upload(ctx, full(upload));
  }

 private:
  [[nodiscard]] std::string full(std::string_view key) const {
    std::string text;
    text.reserve(prefix_.size() + key.size());
    text += prefix_;
    text += key;
    return text;
  }
  [[nodiscard]] Upload full(Upload const& upload) const {
    return {.key = full(upload.key), .id = upload.id};
  }

  std::unique_ptr<ObjectStore> store_;
  std::string const prefix_;
};

}  // namespace

std::unique_ptr<ObjectStore> make_prefix_store(std::unique_ptr<ObjectStore> store,
                                               std::string prefix) {
  return std::make_unique<PrefixStore>(std::move(store), std::move(prefix));
}

}  // namespace zest

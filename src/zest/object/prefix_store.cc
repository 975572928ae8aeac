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

 private:
  [[nodiscard]] std::string full(std::string_view key) const {
    std::string text;
    text.reserve(prefix_.size() + key.size());
    text += prefix_;
    text += key;
    return text;
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

#include "zest/object/mem/mem_store.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "zest/base/clock.h"
#include "zest/runtime/mutex.h"

namespace zest {
namespace {

using Body = std::vector<std::byte>;

struct Object {
  std::shared_ptr<Body const> body;  // shared with gets that copy it outside of the mutex
  WallTime mtime;
};

class MemStore final : public ObjectStore {
 public:
  explicit MemStore(MemStoreOptions options) : options_(options) {
    capabilities_.durable_put = true;  // no put survives a power cut, but no sync could change that
    capabilities_.copy = true;
    capabilities_.multipart = true;
    capabilities_.parts_max = 10'000;
  }

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string describe() const override { return "mem://"; }
  Result<void> create(Context const&) override { return {}; }

  Result<std::size_t> get(Context const&, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    auto const body = find(key).body;
    if (!body) {
      return Errc::noent;
    }
    if (range.offset > 0 && range.offset >= body->size()) {
      return Error(Errc::inval, Fault::semantic, "range starts past the end of the object");
    }
    std::size_t const n = std::min(
        {std::uint64_t{body->size()} - range.offset, range.length, std::uint64_t{out.size()}});
    if (n > 0) {
      std::memcpy(out.data(), body->data() + range.offset, n);
    }
    return n;
  }

  Result<void> put(Context const&, std::string_view key, std::span<ByteView const> parts) override {
    return store(key, std::make_shared<Body const>(concatenation(parts)));
  }

  Result<void> remove(Context const&, std::string_view key) override {
    std::lock_guard const lock(mutex_);
    if (auto const it = objects_.find(key); it != objects_.end()) {
      used_ -= it->second.body->size();
      objects_.erase(it);
    }
    return {};
  }

  Result<ObjectInfo> head(Context const&, std::string_view key) override {
    auto const object = find(key);
    if (!object.body) {
      return Errc::noent;
    }
    return info(std::string(key), object);
  }

  Result<ObjectPage> list(Context const&, ListObjects const& request) override {
    std::lock_guard const lock(mutex_);
    ObjectPage page;
    auto it = request.after >= request.prefix ? objects_.upper_bound(request.after)
                                              : objects_.lower_bound(request.prefix);
    for (; it != objects_.end() && it->first.starts_with(request.prefix); ++it) {
      if (page.objects.size() >= request.limit) {
        page.more = true;
        break;
      }
      page.objects.push_back(info(it->first, it->second));
    }
    return page;
  }

  Result<void> sync(Context const&, std::span<std::string const>) override { return {}; }

  Result<void> copy(Context const&, CopyObject const& request) override {
    auto body = find(request.from).body;
    if (!body) {
      return Errc::noent;
    }
    return store(request.to, std::move(body));
  }

  Result<Upload> create_upload(Context const&, std::string_view key) override {
    std::lock_guard const lock(mutex_);
    Upload upload{.key = std::string(key), .id = std::to_string(++uploads_created_)};
    uploads_[upload.id];
    return upload;
  }
  Result<UploadedPart> upload_part(Context const&, Upload const& upload, std::uint32_t number,
                                   std::span<ByteView const> parts) override {
    if (number < 1 || number > capabilities_.parts_max) {
      return Error(Errc::inval, Fault::semantic, "no such part number");
    }
    auto body = concatenation(parts);
    std::lock_guard const lock(mutex_);
    auto const it = uploads_.find(upload.id);
    if (it == uploads_.end()) {
      return Errc::noent;
    }
    auto& part = it->second[number];
    if (used_ - part.size() + body.size() > options_.bytes_max) {
      return Error(Errc::nospc, Fault::semantic, "the mem:// store is full");
    }
    used_ += body.size() - part.size();
    part = std::move(body);
    return UploadedPart{.number = number, .tag = std::to_string(part.size())};
  }
  Result<void> complete_upload(Context const&, Upload const& upload,
                               std::span<UploadedPart const> parts) override {
    Body body;
    {
      std::lock_guard const lock(mutex_);
      auto const it = uploads_.find(upload.id);
      if (it == uploads_.end()) {
        return Errc::noent;
      }
      std::uint32_t last = 0;
      for (auto const& part : parts) {
        auto const stored = it->second.find(part.number);
        if (part.number <= last || stored == it->second.end()) {
          return Error(Errc::inval, Fault::semantic, "parts are missing or not in order");
        }
        last = part.number;
        body.insert(body.end(), stored->second.begin(), stored->second.end());
      }
      forget(it);
    }
    return store(upload.key, std::make_shared<Body const>(std::move(body)));
  }
  Result<void> abort_upload(Context const&, Upload const& upload) override {
    std::lock_guard const lock(mutex_);
    if (auto const it = uploads_.find(upload.id); it != uploads_.end()) {
      forget(it);
    }
    return {};
  }

 private:
  using Parts = std::map<std::uint32_t, Body>;

  static Body concatenation(std::span<ByteView const> parts) {
    Body body;
    std::size_t size = 0;
    for (auto const part : parts) {
      size += part.size();
    }
    body.reserve(size);
    for (auto const part : parts) {
      body.insert(body.end(), part.begin(), part.end());
    }
    return body;
  }
  Result<void> store(std::string_view key, std::shared_ptr<Body const> body) {
    auto const size = body->size();
    std::lock_guard const lock(mutex_);
    auto const it = objects_.find(key);
    std::uint64_t const old = it == objects_.end() ? 0 : it->second.body->size();
    if (used_ - old + size > options_.bytes_max) {
      return Error(Errc::nospc, Fault::semantic, "the mem:// store is full");
    }
    used_ += size - old;
    Object object{std::move(body), SystemClock().wall()};
    if (it == objects_.end()) {
      objects_.emplace(key, std::move(object));
    } else {
      it->second = std::move(object);
    }
    return {};
  }
  /// Under the mutex.
  void forget(std::map<std::string, Parts>::iterator upload) {
    for (auto const& [number, part] : upload->second) {
      used_ -= part.size();
    }
    uploads_.erase(upload);
  }
  static ObjectInfo info(std::string key, Object const& object) {
    return {.key = std::move(key), .size = object.body->size(), .mtime = object.mtime};
  }
  Object find(std::string_view key) {
    std::lock_guard const lock(mutex_);
    auto const it = objects_.find(key);
    return it == objects_.end() ? Object() : it->second;
  }

  MemStoreOptions const options_;
  StoreCapabilities capabilities_;
  Mutex mutex_;
  std::map<std::string, Object, std::less<>> objects_;
  std::map<std::string, Parts> uploads_;
  std::uint64_t uploads_created_ = 0;
  std::uint64_t used_ = 0;
};

}  // namespace

std::unique_ptr<ObjectStore> make_mem_store(MemStoreOptions options) {
  return std::make_unique<MemStore>(options);
}

}  // namespace zest

#include "zest/object/check_store.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace zest {
namespace {

constexpr int kTries = 3;
constexpr std::size_t kTestBytes = 100;
constexpr std::string_view kTestFolder = "testing/";

std::string random_key(Rng& rng) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::string key(kTestFolder);
  for (int i = 0; i < 10; ++i) {
    key += kLetters[rng.below(kLetters.size())];
  }
  return key;
}

Error not_usable(ObjectStore const& store, std::string_view what, Error&& error) {
  return std::move(error).with("bucket " + store.describe() + " is not " + std::string(what));
}

Result<void> put_creating(Context const& ctx, ObjectStore& store, std::string const& key,
                          ByteView bytes, MissingBucket missing_bucket) {
  ByteView const parts[] = {bytes};
  auto first = store.put(ctx, key, parts);
  if (first.ok() || missing_bucket == MissingBucket::fail) {
    return first;
  }
  // The bucket may not exist yet. If it cannot be created, that is the better explanation.
  ZEST_CHECK(store.create(ctx));
  return store.put(ctx, key, parts);
}

Result<void> check_once(Context const& ctx, ObjectStore& store, Rng& rng,
                        MissingBucket missing_bucket) {
  auto const key = random_key(rng);
  std::array<std::byte, kTestBytes> bytes{};
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(rng.below(256)); });
  if (auto put = put_creating(ctx, store, key, bytes, missing_bucket); !put.ok()) {
    return not_usable(store, "writable", std::move(put).error());
  }
  std::array<std::byte, kTestBytes + 1> back{};
  auto got = store.get(ctx, key, {}, back);
  if (!got.ok()) {
    return not_usable(store, "readable", std::move(got).error());
  }
  if (*got != kTestBytes || !std::equal(bytes.begin(), bytes.end(), back.begin())) {
    return not_usable(
        store, "usable",
        Error::corrupt("a test object came back different from what was written (" + key + ")"));
  }
  if (auto removed = store.remove(ctx, key); !removed.ok()) {
    return not_usable(store, "writable", std::move(removed).error().with("deleting a test object"));
  }
  // Where folders are real, take the test's folder away; nobody minds if that fails.
  (void)store.remove(ctx, kTestFolder);
  return {};
}

}  // namespace

Result<void> check_store(Context const& ctx, ObjectStore& store, Rng& rng,
                         MissingBucket missing_bucket) {
  for (int attempt = 1;; ++attempt) {
    auto result = check_once(ctx, store, rng, missing_bucket);
    if (result.ok() || attempt == kTries || result.error().fault() == Fault::semantic) {
      return result;
    }
  }
}

Result<bool> is_empty_prefix(Context const& ctx, ObjectStore& store) {
  ListObjects request;
  while (true) {
    ZEST_TRY(auto const page, store.list(ctx, request));
    for (auto const& object : page.objects) {
      if (object.size > 0 && !object.key.starts_with(kTestFolder) && !object.key.ends_with('/')) {
        return false;
      }
    }
    if (!page.more) {
      return true;
    }
    request.after = page.objects.back().key;
  }
}

}  // namespace zest

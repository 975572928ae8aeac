#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "tests/conformance/object/store_suite.h"
#include "zest/object/file/file_store.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/prefix_store.h"

namespace zest::testing {
namespace {

class MemFixture final : public StoreFixture {
 public:
  ObjectStore& store() override { return *store_; }

 private:
  std::unique_ptr<ObjectStore> store_ = make_mem_store();
};

/// A volume's part of a bucket, with neighbours on both sides of it in key order.
class PrefixFixture final : public StoreFixture {
 public:
  PrefixFixture() {
    auto inner = make_mem_store();
    ByteView const parts[] = {as_bytes("neighbour")};
    for (auto const* key : {"vol", "vol-2/x", "vol.", "vol0", "vop/x", "a"}) {
      EXPECT_TRUE(inner->put(ctx, key, parts).ok());
    }
    store_ = make_prefix_store(std::move(inner), "vol/");
  }
  ObjectStore& store() override { return *store_; }

 private:
  std::unique_ptr<ObjectStore> store_;
};

class FileFixture final : public StoreFixture {
 public:
  explicit FileFixture(bool fsync_on_put) {
    std::string path = std::filesystem::temp_directory_path() / "zest-store-XXXXXX";
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    // One level more than exists, so that create() has something to do.
    auto store = make_file_store({.root = root_ / "bucket", .fsync_on_put = fsync_on_put}, pool);
    EXPECT_TRUE(store.ok());
    store_ = *std::move(store);
  }
  ~FileFixture() override { std::filesystem::remove_all(root_); }
  ObjectStore& store() override { return *store_; }

 private:
  std::filesystem::path root_;
  std::unique_ptr<ObjectStore> store_;
};

}  // namespace

std::vector<StoreCase> store_cases() {
  return {
      {.name = "mem", .make = [] { return std::make_unique<MemFixture>(); }},
      {.name = "prefix", .make = [] { return std::make_unique<PrefixFixture>(); }},
      {.name = "file", .make = [] { return std::make_unique<FileFixture>(false); }},
      {.name = "file_fsync", .make = [] { return std::make_unique<FileFixture>(true); }},
  };
}

}  // namespace zest::testing

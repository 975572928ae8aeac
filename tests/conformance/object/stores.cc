#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "tests/conformance/object/store_suite.h"
#include "zest/object/file/file_store.h"
#include "zest/object/make_store.h"
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

std::string variable(std::string const& name) {
  char const* const found = std::getenv(name.c_str());
  return found == nullptr ? "" : found;
}

/// A bucket of a server that tests/services/with.py has started, new for every test.
class ServerFixture final : public StoreFixture {
 public:
  struct Server {
    std::string scheme;
    std::string url;   ///< the variable with the URL of a bucket
    std::string keys;  ///< the beginning of the variables' names with the keys
    std::string authority;
  };
  explicit ServerFixture(Server const& server) {
    // with.py gives one bucket a run; every test takes a name of its own beside it.
    static int number = 0;
    auto made = make_store(
        {.scheme = server.scheme,
         .bucket = variable(server.url) + "-" + std::to_string(++number),
         .access_key = variable(server.keys + "_ACCESS_KEY"),
         .secret_key = variable(server.keys + "_SECRET_KEY"),
         .environment = [authority = variable(server.authority)](char const* name) -> char const* {
           return std::string_view(name) == "AWS_CA_BUNDLE" && !authority.empty()
                      ? authority.c_str()
                      : nullptr;
         }},
        pool);
    EXPECT_TRUE(made.ok()) << made.error().text();
    store_ = *std::move(made);
  }
  ObjectStore& store() override { return *store_; }

 private:
  std::unique_ptr<ObjectStore> store_;
};

/// Those whose server runs.
void add_servers(std::vector<StoreCase>& cases) {
  for (auto const& [name, server] : {
           std::pair<std::string, ServerFixture::Server>(
               "minio", {.scheme = "minio", .url = "ZEST_TEST_MINIO", .keys = "ZEST_TEST_MINIO"}),
           {"minio_as_s3", {.scheme = "s3", .url = "ZEST_TEST_MINIO", .keys = "ZEST_TEST_MINIO"}},
           {"minio_tls",
            {.scheme = "minio",
             .url = "ZEST_TEST_MINIO_TLS",
             .keys = "ZEST_TEST_MINIO",
             .authority = "ZEST_TEST_MINIO_TLS_AUTHORITY"}},
           {"ceph", {.scheme = "s3", .url = "ZEST_TEST_RGW", .keys = "ZEST_TEST_RGW"}},
       }) {
    if (!variable(server.url).empty()) {
      cases.push_back(
          {.name = name, .make = [server] { return std::make_unique<ServerFixture>(server); }});
    }
  }
}

}  // namespace

std::vector<StoreCase> store_cases() {
  std::vector<StoreCase> cases{
      {.name = "mem", .make = [] { return std::make_unique<MemFixture>(); }},
      {.name = "prefix", .make = [] { return std::make_unique<PrefixFixture>(); }},
      {.name = "file", .make = [] { return std::make_unique<FileFixture>(false); }},
      {.name = "file_fsync", .make = [] { return std::make_unique<FileFixture>(true); }},
  };
  add_servers(cases);
  return cases;
}

}  // namespace zest::testing

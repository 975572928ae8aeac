#include "zest/object/check_store.h"

#include <gtest/gtest.h>

#include "zest/object/make_store.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/testing/expect.h"
#include "zest/object/testing/faulty_store.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {

using testing::FaultyStore;
using testing::StoreOp;

struct Checked {
  std::unique_ptr<ObjectStore> mem = make_mem_store();
  FaultyStore store{*mem};
  Rng rng{3};
  Context ctx;
};

TEST(CheckStore, LeavesNothingBehind) {
  Checked c;
  ASSERT_OK(check_store(c.ctx, c.store, c.rng));
  EXPECT_EQ(c.store.calls(StoreOp::put), 1u);
  EXPECT_EQ(c.store.calls(StoreOp::get), 1u);
  auto const page = c.mem->list(c.ctx, {});
  ASSERT_OK(page);
  EXPECT_TRUE(page->objects.empty());
}

TEST(CheckStore, SaysWhyABucketIsNotWritable) {
  Checked c;
  c.store.fail_all(StoreOp::put, Errc::acces, Fault::semantic);
  auto const result = check_store(c.ctx, c.store, c.rng);
  ASSERT_ERRC(result, Errc::acces);
  EXPECT_EQ(result.error().text(), "bucket faulty mem:// is not writable: injected");
}

TEST(CheckStore, FindsABucketThatForgetsOrLies) {
  Checked c;
  c.store.distort = [](std::string_view, ByteRange, ByteSpan out, std::size_t got) {
    out[50] ^= std::byte{1};
    return got;
  };
  ASSERT_ERRC(check_store(c.ctx, c.store, c.rng), Errc::io);
  c.store.distort = [](std::string_view, ByteRange, ByteSpan, std::size_t got) { return got - 1; };
  ASSERT_ERRC(check_store(c.ctx, c.store, c.rng), Errc::io);
}

TEST(CheckStore, PassingFailuresAreTriedAgain) {
  Checked c;
  c.store.fail_nth(StoreOp::get, 1, Errc::timedout, Fault::transient);
  ASSERT_OK(check_store(c.ctx, c.store, c.rng));
}

// Goal: format makes a bucket, mount does not (its disk may just not be mounted).
TEST(CheckStore, MissingBucket) {
  for (auto const missing : {MissingBucket::create, MissingBucket::fail}) {
    Checked c;
    bool exists = false;
    c.store.before = [&](StoreOp op, std::string_view, std::uint64_t) -> Result<void> {
      exists = exists || op == StoreOp::create;
      return exists ? Result<void>() : Result<void>(Error(Errc::io, Fault::semantic, "no bucket"));
    };
    auto const result = check_store(c.ctx, c.store, c.rng, missing);
    EXPECT_EQ(result.ok(), missing == MissingBucket::create);
    EXPECT_EQ(exists, missing == MissingBucket::create);
  }
}

TEST(IsEmptyPrefix, IgnoresTestObjectsAndEmptyOnes) {
  Checked c;
  ByteView const some[] = {as_bytes("x")};
  ASSERT_OK(c.mem->put(c.ctx, "testing/abc", some));
  ASSERT_OK(c.mem->put(c.ctx, "folder/", {}));
  ASSERT_OK(c.mem->put(c.ctx, "empty", {}));
  auto empty = is_empty_prefix(c.ctx, *c.mem);
  ASSERT_OK(empty);
  EXPECT_TRUE(*empty);
  for (int i = 0; i < 1500; ++i) {
    ASSERT_OK(c.mem->put(c.ctx, "a" + std::to_string(i), {}));
  }
  ASSERT_OK(c.mem->put(c.ctx, "zzz", some));
  empty = is_empty_prefix(c.ctx, *c.mem);
  ASSERT_OK(empty);
  EXPECT_FALSE(*empty);
}

TEST(MakeStore, Schemes) {
  Registry metrics;
  BlockingPool pool({}, metrics);
  auto const file = make_store({.scheme = "FILE", .bucket = "/tmp/x"}, pool);
  ASSERT_OK(file);
  EXPECT_EQ((*file)->describe(), "file:///tmp/x/");
  ASSERT_OK(make_store({.scheme = "mem"}, pool));
  ASSERT_ERRC(make_store({.scheme = "file", .bucket = "x"}, pool), Errc::inval);
  for (auto const* scheme : {"swift", "ceph", "webdav", "b2"}) {
    auto const result = make_store({.scheme = scheme, .bucket = "b", .secret_key = "hush"}, pool);
    ASSERT_ERRC(result, Errc::notsup);
    EXPECT_NE(result.error().text().find(scheme), std::string::npos);
    EXPECT_EQ(result.error().text().find("hush"), std::string::npos);
  }
  ASSERT_ERRC(make_store({.scheme = "floppy"}, pool), Errc::inval);
  auto const s3 =
      make_store({.scheme = "S3", .bucket = "b", .access_key = "a", .secret_key = "hush"}, pool);
  ASSERT_OK(s3);
  EXPECT_EQ((*s3)->describe(), "s3://b/");
  auto const half = make_store({.scheme = "minio", .bucket = "h/b", .access_key = "a"}, pool);
  ASSERT_ERRC(half, Errc::inval);
  EXPECT_NE(half.error().text().find("SECRET_KEY"), std::string::npos);
}

TEST(MemStore, FullIsNoSpace) {
  auto const store = make_mem_store({.bytes_max = 10});
  Context const ctx;
  ByteView const six[] = {as_bytes("123456")};
  ASSERT_OK(store->put(ctx, "a", six));
  ASSERT_ERRC(store->put(ctx, "b", six), Errc::nospc);
  ASSERT_OK(store->put(ctx, "a", six));  // replaces, takes no more
  ASSERT_OK(store->remove(ctx, "a"));
  ASSERT_OK(store->put(ctx, "b", six));
}

}  // namespace
}  // namespace zest

// What real servers do rarely: redirects, refusals, wrong bytes, services of roles. The rest is
// the conformance suite on MinIO and Ceph.
#include "zest/object/s3/s3_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "zest/object/make_store.h"
#include "zest/object/s3/reply.h"
#include "zest/object/testing/expect.h"
#include "zest/runtime/http/scripted_server.h"
#include "zest/runtime/testing.h"

namespace zest::s3 {
namespace {

using Server = http::testing::ScriptedServer;
using Variables = std::map<std::string, std::string>;

std::string reply(int status, std::string_view body, std::string_view fields = "") {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + std::string(fields) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string refusal(int status, std::string_view code, std::string_view fields = "") {
  return reply(status,
               "<?xml version=\"1.0\"?><Error><Code>" + std::string(code) +
                   "</Code><Message>words</Message><RequestId>R1</RequestId></Error>",
               fields);
}

/// A store on a scripted server, and a fiber to use it on.
struct Bench {
  explicit Bench(std::vector<Server::Script> scripts, Variables variables = {},
                 std::string access_key = "key", std::string const& query = "")
      : server(std::move(scripts)) {
    auto made = make_store(
        {.scheme = "s3",
         .bucket = "http://127.0.0.1:" + std::to_string(server.url().port) + "/b" + query,
         .access_key = access_key,
         .secret_key = access_key.empty() ? "" : "hush",
         .storage_class = "COLD",
         .environment = [variables](char const* name) -> char const* {
           auto const found = variables.find(name);
           return found == variables.end() ? nullptr : found->second.c_str();
         }},
        pool);
    EXPECT_TRUE(made.ok()) << made.error().text();
    store = *std::move(made);
  }
  Result<std::string> get(ByteRange range = {}, std::size_t room = 100) const {
    std::string text(room, '\0');
    ZEST_TRY(auto const n, store->get(ctx, "k", range,
                                      std::as_writable_bytes(std::span(text.data(), text.size()))));
    text.resize(n);
    return text;
  }
  Registry metrics;
  BlockingPool pool{{.name = "object", .threads = 1}, metrics};
  Server server;
  std::unique_ptr<ObjectStore> store;
  Context ctx;
};

bool has(std::string const& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(S3Store, WhatAPutSends) {
  testing::run_on_loop([] {
    Bench bench({{reply(200, "")}}, {}, "key", "?sse=AES256");
    ByteView const parts[] = {as_bytes("x"), as_bytes("\n")};
    ASSERT_OK(bench.store->put(bench.ctx, "a/b c", parts));
    auto const& request = bench.server.requests.at(0);
    for (auto const* part :
         {"PUT /b/a/b%20c HTTP/1.1\r\n", "x-amz-meta-crc32c: 3100526805\r\n",
          "x-amz-storage-class: COLD\r\n", "x-amz-server-side-encryption: AES256\r\n",
          "Content-Type: application/octet-stream\r\n", "x-amz-checksum-crc32c: uM5I1Q==\r\n",
          "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n", "x-amz-checksum-crc32c;",
          "Authorization: AWS4-HMAC-SHA256 Credential=key/", "Content-Length: 2\r\n"}) {
      EXPECT_TRUE(has(request, part)) << part << "\n" << request;
    }
    EXPECT_FALSE(has(request, "hush"));
  });
}

// Goal: whatever a server refuses is the right error, with its words and no secret.
TEST(S3Store, Refusals) {
  struct Row {
    std::string script;
    Errc code;
    Fault fault;
  };
  for (auto const& row : {
           Row{refusal(404, "NoSuchKey"), Errc::noent, Fault::semantic},
           Row{refusal(404, "NoSuchBucket"), Errc::nxio, Fault::semantic},
           Row{refusal(403, "AccessDenied"), Errc::acces, Fault::semantic},
           Row{refusal(403, "SignatureDoesNotMatch"), Errc::acces, Fault::semantic},
           Row{refusal(403, "QuotaExceeded"), Errc::dquot, Fault::semantic},
           Row{refusal(507, "XMinioStorageFull"), Errc::nospc, Fault::semantic},
           Row{refusal(416, "InvalidRange"), Errc::inval, Fault::semantic},
           Row{refusal(400, "InvalidArgument"), Errc::inval, Fault::semantic},
           Row{refusal(400, "RequestTimeout"), Errc::timedout, Fault::transient},
           Row{refusal(503, "SlowDown"), Errc::again, Fault::transient},
           Row{refusal(500, "InternalError"), Errc::io, Fault::transient},
           Row{refusal(200, "InternalError"), Errc::io, Fault::transient},
           Row{reply(404, "<html>not here</html>"), Errc::io, Fault::semantic},
           Row{reply(502, "Bad Gateway"), Errc::io, Fault::transient},
           Row{reply(429, "slower"), Errc::again, Fault::transient},
       }) {
    SCOPED_TRACE(row.script);
    testing::run_on_loop([&] {
      Bench bench({{row.script}});
      auto const done = bench.store->copy(bench.ctx, {.from = "f", .to = "t"});
      ASSERT_ERRC(done, row.code);
      EXPECT_EQ(done.error().fault(), row.fault);
      EXPECT_FALSE(has(done.error().text(), "hush"));
      EXPECT_EQ(bench.server.requests.size(), 1u);
    });
  }
  testing::run_on_loop([] {
    Bench bench({{refusal(403, "AccessDenied", "x-amz-request-id: R2\r\n")}});
    auto const text = bench.store->remove(bench.ctx, "k").error().text();
    EXPECT_TRUE(has(text, "/b/: DELETE k: AccessDenied: words")) << text;
    EXPECT_TRUE(has(text, "status 403, request id R2")) << text;
  });
}

TEST(S3Store, TheRegionIsLearned) {
  testing::run_on_loop([] {
    Bench bench({{refusal(301, "PermanentRedirect", "x-amz-bucket-region: eu-west-9\r\n")},
                 {reply(200, "hi")},
                 {reply(200, "hi")}});
    for (int i = 0; i < 2; ++i) {
      auto const text = bench.get();
      ASSERT_OK(text);
      EXPECT_EQ(*text, "hi");
    }
    ASSERT_EQ(bench.server.requests.size(), 3u);
    EXPECT_TRUE(has(bench.server.requests[0], "/us-east-1/s3/"));
    EXPECT_TRUE(has(bench.server.requests[1], "/eu-west-9/s3/"));
    EXPECT_TRUE(has(bench.server.requests[2], "/eu-west-9/s3/"));
  });
  // A server that always names another region is followed once a request.
  testing::run_on_loop([] {
    Bench bench({{refusal(301, "PermanentRedirect", "x-amz-bucket-region: a\r\n")},
                 {refusal(301, "PermanentRedirect", "x-amz-bucket-region: b\r\n")}});
    ASSERT_ERRC(bench.get(), Errc::inval);
    EXPECT_EQ(bench.server.requests.size(), 2u);
  });
}

// Goal: bytes that are not the object's are never handed out as its bytes.
TEST(S3Store, WrongBytes) {
  testing::run_on_loop([] {
    Bench bench(
        {{reply(200, "x\n", "x-amz-meta-crc32c: 3100526805\r\n")},
         {reply(200, "y\n", "x-amz-meta-crc32c: 3100526805\r\n")},
         {reply(206, "y\n", "Content-Range: bytes 0-1/2\r\nx-amz-meta-crc32c: 3100526805\r\n")},
         {reply(206, "y\n", "Content-Range: bytes 0-1/9\r\nx-amz-meta-crc32c: 3100526805\r\n")},
         {reply(206, "y\n", "Content-Range: bytes 4-5/9\r\n")},
         {reply(200, "whole")}});
    auto const good = bench.get();
    ASSERT_OK(good);
    EXPECT_EQ(*good, "x\n");
    for (auto const& range : {ByteRange{}, ByteRange{0, 50}}) {
      auto const wrong = bench.get(range);
      ASSERT_FALSE(wrong.ok());
      EXPECT_EQ(wrong.error().fault(), Fault::corrupt);
    }
    ASSERT_OK(bench.get({0, 2}));
    for (int i = 0; i < 2; ++i) {
      auto const other = bench.get({3, 2});
      ASSERT_FALSE(other.ok());
      EXPECT_EQ(other.error().fault(), Fault::transient);
    }
  });
  testing::run_on_loop([] {
    Bench bench({{reply(200, "y\n", "x-amz-meta-crc32c: 1\r\n")}}, {}, "key",
                "?disable-checksum=true");
    ASSERT_OK(bench.get());
  });
}

TEST(S3Store, ListsThatCannotBe) {
  auto const entry = [](std::string_view key) {
    return "<Contents><Key>" + std::string(key) +
           "</Key><Size>1</Size><LastModified>2026-01-02T03:04:05.5Z</LastModified></Contents>";
  };
  auto const list = [&](std::string const& inside) {
    return parse_list("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" +
                          inside + "</ListBucketResult>",
                      {.prefix = "a", .after = "a1", .limit = 2});
  };
  auto const page =
      list("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>" + entry("a2%2Fx+y"));
  ASSERT_OK(page);
  EXPECT_EQ(page->objects.at(0).key, "a2/x y");
  EXPECT_EQ(page->objects.at(0).mtime.nsec, 500'000'000u);
  EXPECT_TRUE(page->more);
  for (auto const& inside : std::vector<std::string>{
           entry("a1"), entry("b"), entry("a3") + entry("a2"), entry("a2") + entry("a2"),
           entry("a2") + entry("a3") + entry("a4"), "<IsTruncated>true</IsTruncated>",
           "<Contents><Key>a2</Key></Contents>",
           "<EncodingType>url</EncodingType>" + entry("a2%zz")}) {
    SCOPED_TRACE(inside);
    auto const wrong = list(inside);
    ASSERT_ERRC(wrong, Errc::io);
    EXPECT_EQ(wrong.error().fault(), Fault::transient);
  }
  ASSERT_ERRC(parse_list("<html>", {}), Errc::io);
  ASSERT_ERRC(parse_list("", {}), Errc::io);
}

TEST(S3Store, AnonymousRequestsAreUnsigned) {
  testing::run_on_loop([] {
    Bench bench({{reply(200, "hi")}}, {}, "anonymous");
    ASSERT_OK(bench.get());
    EXPECT_FALSE(has(bench.server.requests.at(0), "Authorization"));
  });
}

TEST(S3Credentials, FromTheEnvironmentAndFromFiles) {
  testing::run_on_loop([] {
    Bench bench({{reply(200, "hi")}},
                {{"AWS_ACCESS_KEY_ID", "envkey"},
                 {"AWS_SECRET_ACCESS_KEY", "s"},
                 {"AWS_SESSION_TOKEN", "tok"}},
                "");
    ASSERT_OK(bench.get());
    EXPECT_TRUE(has(bench.server.requests.at(0), "Credential=envkey/"));
    EXPECT_TRUE(has(bench.server.requests.at(0), "X-Amz-Security-Token: tok\r\n"));
  });
  std::string path = std::filesystem::temp_directory_path() / "zest-keys-XXXXXX";
  ::close(::mkstemp(path.data()));
  std::ofstream(path) << "[default]\naws_access_key_id=no\naws_secret_access_key=x\n"
                         "# comment\n[profile work]\r\n aws_access_key_id = filekey \r\n"
                         "aws_secret_access_key=a=b\n";
  testing::run_on_loop([&] {
    Bench bench({{reply(200, "hi")}},
                {{"AWS_PROFILE", "work"}, {"AWS_CONFIG_FILE", path}, {"HOME", "/nonexistent"}}, "");
    ASSERT_OK(bench.get());
    EXPECT_TRUE(has(bench.server.requests.at(0), "Credential=filekey/"));
  });
  std::filesystem::remove(path);
  testing::run_on_loop([] {
    Bench bench({{reply(200, "hi")}},
                {{"AWS_EC2_METADATA_DISABLED", "true"}, {"HOME", "/nonexistent"}}, "");
    auto const got = bench.get();
    ASSERT_ERRC(got, Errc::acces);
    EXPECT_TRUE(has(got.error().text(), "--access-key"));
  });
}

std::string lease(std::string_view key, std::string_view expires) {
  return R"({"Code":"Success","AccessKeyId":")" + std::string(key) +
         R"(","SecretAccessKey":"s","Token":"t","Expiration":")" + std::string(expires) + R"("})";
}

// Goal: the role of an instance is asked for with a token, kept while it lasts, and asked for again
// when the store says that it has expired.
TEST(S3Credentials, RolesOfInstances) {
  testing::run_on_loop([] {
    Server service({{reply(200, "TOKEN")},
                    {reply(200, "my-role\n")},
                    {reply(200, lease("first", "2099-01-01T00:00:00Z"))},
                    {reply(200, "TOKEN")},
                    {reply(200, "my-role\n")},
                    {reply(200, lease("second", "2099-01-01T00:00:00Z"))}});
    Bench bench({{reply(200, "hi")}, {refusal(400, "ExpiredToken")}, {reply(200, "hi")}},
                {{"AWS_EC2_METADATA_SERVICE_ENDPOINT",
                  "http://127.0.0.1:" + std::to_string(service.url().port) + "/"},
                 {"HOME", "/nonexistent"}},
                "");
    ASSERT_OK(bench.get());
    EXPECT_TRUE(has(bench.server.requests.at(0), "Credential=first/"));
    EXPECT_EQ(service.requests.size(), 3u);
    EXPECT_TRUE(has(service.requests.at(0), "PUT /latest/api/token"));
    EXPECT_TRUE(has(service.requests.at(2), "X-aws-ec2-metadata-token: TOKEN\r\n"));
    EXPECT_TRUE(has(service.requests.at(2), "security-credentials/my-role "));
    ASSERT_OK(bench.get());
    EXPECT_TRUE(has(bench.server.requests.at(1), "Credential=first/"));
    EXPECT_TRUE(has(bench.server.requests.at(2), "Credential=second/"));
  });
}

TEST(S3Credentials, RolesOfContainers) {
  testing::run_on_loop([] {
    // Keys that end soon are good for this request, and asked for again at the next.
    Server service({{reply(200, lease("short", "2001-01-01T00:00:00Z"))},
                    {reply(200, lease("long", "2099-01-01T00:00:00Z"))},
                    {reply(403, "no")}});
    Bench bench({{reply(200, "hi")}},
                {{"AWS_CONTAINER_CREDENTIALS_FULL_URI",
                  "http://127.0.0.1:" + std::to_string(service.url().port) + "/role"},
                 {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "proof"},
                 {"HOME", "/nonexistent"}},
                "");
    for (int i = 0; i < 3; ++i) {
      ASSERT_OK(bench.get());
    }
    EXPECT_EQ(service.requests.size(), 2u);
    EXPECT_TRUE(has(service.requests.at(0), "Authorization: proof\r\n"));
    EXPECT_TRUE(has(bench.server.requests.at(2), "Credential=long/"));
  });
  for (auto const* json : {"", "[]", "{}", "{\"AccessKeyId\":1}", "<html>"}) {
    ASSERT_ERRC(parse_lease(json), Errc::io);
  }
}

}  // namespace
}  // namespace zest::s3

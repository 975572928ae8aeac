// The examples that Amazon publishes for signature version 4 in the Authorization header.
#include "zest/object/s3/sign.h"

#include <gtest/gtest.h>

namespace zest::s3 {
namespace {

constexpr WallTime kTime{.sec = 1369353600};  // 2013-05-24 00:00:00 UTC
Credentials const kKeys{.access_key = "AKIAIOSFODNN7EXAMPLE",
                        .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                        .session_token = {}};

struct Row {
  std::string_view method;
  std::string path;
  std::vector<http::Field> query;
  std::vector<http::Field> fields;
  std::string_view body;
  std::string_view names;
  std::string_view signature;
};

TEST(S3Sign, PublishedExamples) {
  for (auto const& row : {
           Row{"GET",
               "/test.txt",
               {},
               {{"Range", "bytes=0-9"}},
               "",
               "host;range;x-amz-content-sha256;x-amz-date",
               "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
           Row{"PUT",
               "/" + http::percent_encode("test$file.text", true),
               {},
               {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
               "Welcome to Amazon S3.",
               "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
               "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
           Row{"GET",
               "/",
               {{"lifecycle", ""}},
               {},
               "",
               "host;x-amz-content-sha256;x-amz-date",
               "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
           Row{"GET",
               "/",
               {{"prefix", "J"}, {"max-keys", "2"}},
               {},
               "",
               "host;x-amz-content-sha256;x-amz-date",
               "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
       }) {
    SCOPED_TRACE(row.signature);
    ByteView const body[] = {as_bytes(row.body)};
    http::Request request{.method = row.method,
                          .url = {.host = "examplebucket.s3.amazonaws.com",
                                  .port = 80,
                                  .path = row.path,
                                  .query = canonical_query(row.query)},
                          .fields = row.fields};
    sign(request, kKeys, {.region = "us-east-1", .time = kTime, .payload = sha256_hex(body)});
    EXPECT_EQ(request.fields.back().name, "Authorization");
    EXPECT_EQ(request.fields.back().value,
              "AWS4-HMAC-SHA256 "
              "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
              "SignedHeaders=" +
                  std::string(row.names) + ",Signature=" + std::string(row.signature));
  }
}

TEST(S3Sign, TheTokenIsSignedAndTheHashCoversAllParts) {
  auto keys = kKeys;
  keys.session_token = "token";
  http::Request request{.url = {.host = "h", .port = 80, .path = "/"}};
  sign(request, keys, {.region = "r", .time = kTime, .payload = kUnsignedPayload});
  EXPECT_NE(request.fields.back().value.find(";x-amz-security-token,"), std::string::npos);
  ByteView const parts[] = {as_bytes("a"), as_bytes(""), as_bytes("bc")};
  EXPECT_EQ(sha256_hex(parts), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(S3Sign, QueriesAreEscapedAndSorted) {
  EXPECT_EQ(canonical_query({{"b", "x y/+"}, {"a", ""}, {"A", "\xC3\xA9"}}),
            "A=%C3%A9&a=&b=x%20y%2F%2B");
}

}  // namespace
}  // namespace zest::s3

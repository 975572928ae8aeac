#include "zest/object/s3/place.h"

#include <gtest/gtest.h>

#include <map>

#include "zest/object/testing/expect.h"

namespace zest::s3 {
namespace {

http::Environment environment_of(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](char const* name) -> char const* {
    auto const found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

// Goal: every form of a bucket's URL leads to the same requests as with the peer.
TEST(S3Place, FormsOfUrls) {
  struct Row {
    std::string_view scheme;
    std::string bucket;
    std::string_view url;
    std::string_view region;
  };
  for (auto const& row : {
           Row{"s3", "bare", "https://bare.s3.us-east-1.amazonaws.com/", "us-east-1"},
           Row{"s3", "https://b.s3.eu-west-1.amazonaws.com",
               "https://b.s3.eu-west-1.amazonaws.com/", "eu-west-1"},
           Row{"s3", "https://b.s3-eu-west-1.amazonaws.com/",
               "https://b.s3.eu-west-1.amazonaws.com/", "eu-west-1"},
           Row{"s3", "b.s3.amazonaws.com", "https://b.s3.us-east-1.amazonaws.com/", "us-east-1"},
           Row{"s3", "https://s3.eu-west-1.amazonaws.com/b",
               "https://b.s3.eu-west-1.amazonaws.com/", "eu-west-1"},
           Row{"s3", "https://s3.dualstack.eu-west-1.amazonaws.com/b",
               "https://b.s3.eu-west-1.amazonaws.com/", "eu-west-1"},
           Row{"s3", "https://b.c.s3.eu-west-1.amazonaws.com",
               "https://s3.eu-west-1.amazonaws.com/b.c/", "eu-west-1"},
           Row{"s3", "https://b.s3.cn-north-1.amazonaws.com.cn",
               "https://b.s3.cn-north-1.amazonaws.com.cn/", "cn-north-1"},
           Row{"s3", "https://b.vpce-1.s3.us-west-2.vpce.amazonaws.com",
               "https://vpce-1.s3.us-west-2.vpce.amazonaws.com/b/", "us-west-2"},
           Row{"s3", "http://127.0.0.1:9000/b", "http://127.0.0.1:9000/b/", "us-east-1"},
           Row{"s3", "b.objects.example:8080", "http://objects.example:8080/b/", "us-east-1"},
           Row{"s3", "https://b.ns.compat.objectstorage.eu-frankfurt-1.oraclecloud.com",
               "https://ns.compat.objectstorage.eu-frankfurt-1.oraclecloud.com/b/",
               "eu-frankfurt-1"},
           Row{"s3", "https://b.s3.gra.cloud.ovh.net", "https://s3.gra.cloud.ovh.net/b/", "gra"},
           Row{"minio", "127.0.0.1:9000/b", "http://127.0.0.1:9000/b/", "us-east-1"},
           Row{"minio", "https://h/minio/b/x?region=r-1", "https://h/b/", "r-1"},
           Row{"wasabi", "b.s3.eu-1.wasabisys.com", "https://b.s3.eu-1.wasabisys.com/", "eu-1"},
           Row{"scw", "b.s3.fr-par.scw.cloud", "https://b.s3.fr-par.scw.cloud/", "fr-par"},
           Row{"space", "b.nyc3.digitaloceanspaces.com", "https://b.nyc3.digitaloceanspaces.com/",
               "nyc3"},
           Row{"oos", "b.oos-cn.ctyunapi.cn", "https://oos-cn.ctyunapi.cn/b/", "cn"},
           Row{"eos", "b.eos-wuxi-1.cmecloud.cn", "https://eos-wuxi-1.cmecloud.cn/b/", "us-east-1"},
       }) {
    SCOPED_TRACE(row.bucket);
    auto const place = parse_place(row.scheme, row.bucket, environment_of({}));
    ASSERT_OK(place);
    auto const url = place->url(place->region);
    EXPECT_EQ((url.tls ? "https://" : "http://") + url.authority() + url.path, row.url);
    EXPECT_EQ(place->region, row.region);
  }
}

TEST(S3Place, EnvironmentAndQuery) {
  auto place =
      parse_place("s3", "http://h.example/b?disable-checksum=true&sse=aws:kms&sse-kms-key-id=k",
                  environment_of({{"AWS_REGION", "r-2"}, {"JFS_S3_VHOST_STYLE", "1"}}));
  ASSERT_OK(place);
  EXPECT_EQ(place->region, "r-2");
  EXPECT_EQ(place->url("r-2").authority(), "b.h.example");
  EXPECT_FALSE(place->checksum);
  EXPECT_EQ(place->encryption, "aws:kms");
  EXPECT_EQ(place->kms_key, "k");
  EXPECT_EQ(place->describe(), "s3://h.example/b/");
  place = parse_place("minio", "h/b", environment_of({{"MINIO_REGION", "m"}, {"AWS_REGION", "x"}}));
  ASSERT_OK(place);
  EXPECT_EQ(place->region, "m");
}

TEST(S3Place, WhatIsNoBucket) {
  for (auto const& [scheme, bucket] : {std::pair("s3", ""),
                                       {"s3", "ftp://x"},
                                       {"s3", "https://x:y@h/b"},
                                       {"s3", "http://h//"},
                                       {"minio", "http://h:9000"},
                                       {"minio", "http://h/"},
                                       {"wasabi", "b.c"},
                                       {"s3", "https://b.x.amazonaws.com"},
                                       {"s3", "http://h/b%20c"},
                                       {"s3", "h.e/b?sse=no"},
                                       {"s3", "https://b.vpce.amazonaws.com"}}) {
    SCOPED_TRACE(bucket);
    auto const place = parse_place(scheme, bucket, environment_of({}));
    ASSERT_ERRC(place, Errc::inval);
    EXPECT_EQ(place.error().text().find("x:y"), std::string::npos);
  }
}

}  // namespace
}  // namespace zest::s3

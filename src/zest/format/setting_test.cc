// Goal: the Setting document is the peer's byte for byte, secrets survive their encryption,
// versions gate clients.
#include <gtest/gtest.h>

#include "zest/format/go_json.h"
#include "zest/format/setting.h"

namespace zest {
namespace {

constexpr std::string_view kDocument = R"({
"Name": "myjfs",
"UUID": "6c1d9d2e-0f39-4c4e-a7a4-58b1cbdb1a41",
"Storage": "file",
"Tiers": {
"0": {
"ID": 0,
"StorageClass": "",
"Tag": ""
}
},
"Bucket": "/var/jfs/",
"BlockSize": 4096,
"Compression": "none",
"EncryptAlgo": "aes256gcm-rsa",
"TrashDays": 1,
"MetaVersion": 1,
"MinClientVersion": "1.1.0-A",
"DirStats": true,
"EnableACL": false
})";

Setting plain() {
  auto setting = decode_setting(kDocument);
  EXPECT_TRUE(setting.ok());
  return *std::move(setting);
}

TEST(Setting, RoundTripsByteForByte) {
  auto const setting = plain();
  EXPECT_EQ(setting.name, "myjfs");
  EXPECT_EQ(setting.block_size_bytes(), 4U << 20);
  EXPECT_TRUE(setting.dir_stats);
  EXPECT_EQ(encode_setting(setting), kDocument);
}

TEST(Setting, AllFieldsRoundTrip) {
  Setting const setting{.name = "vol",
                        .uuid = "u",
                        .storage = "s3",
                        .storage_class = "IA",
                        .tiers = {{0, {0, "IA", ""}}, {2, {2, "COLD", "a=b"}}},
                        .bucket = "http://h/<b>&c",
                        .access_key = "ak",
                        .secret_key = "sk",
                        .session_token = "st",
                        .block_size_kib = 64,
                        .compression = "lz4",
                        .shards = 4,
                        .hash_prefix = true,
                        .capacity_bytes = ~std::uint64_t{0},
                        .inodes = 5,
                        .encrypt_key = "-----BEGIN\n",
                        .encrypt_algo = "chacha20-rsa",
                        .key_encrypted = true,
                        .upload_limit_mbps = -1,
                        .download_limit_mbps = 8,
                        .trash_days = 3,
                        .meta_version = 1,
                        .min_client_version = "1.2.0",
                        .max_client_version = "2.0.0",
                        .dir_stats = true,
                        .user_group_quota = true,
                        .enable_acl = true,
                        .ranger_rest_url = "r",
                        .ranger_service = "s",
                        .change_log = true,
                        .change_log_age_max_sec = 7200,
                        .change_log_lines_max = 10,
                        .kerb_conf = "k"};
  auto const decoded = decode_setting(encode_setting(setting));
  ASSERT_TRUE(decoded.ok()) << decoded.error().text();
  EXPECT_EQ(*decoded, setting);
}

TEST(Setting, AcceptsAnyFormattingAndUnknownFields) {
  auto const setting =
      decode_setting(R"( {"New":[1,{}],"UUID":"u","BlockSize":4096,"Tiers":null,"Name":"a\u003cb",
      "StorageClass":"X","SecretKey":null} )");
  ASSERT_TRUE(setting.ok());
  EXPECT_EQ(setting->name, "a<b");
  EXPECT_EQ(setting->tiers.at(0).storage_class, "X");
}

TEST(Setting, WrongTypesAreClearErrors) {
  for (auto const* json :
       {"", "null", "[]", "{", "{}", R"({"Name":"a"})", R"({"Name":1,"UUID":"u","BlockSize":4096})",
        R"({"Name":"a","UUID":"u","BlockSize":"4096"})",
        R"({"Name":"a","UUID":"u","BlockSize":4096.5})", R"({"Name":"a","UUID":"u","BlockSize":1})",
        R"({"Name":"a","UUID":"u","BlockSize":99999999999999999999})",
        R"({"Name":"a","UUID":"u","BlockSize":4096,"Capacity":-1})",
        R"({"Name":"a","UUID":"u","BlockSize":4096,"Shards":257})",
        R"({"Name":"a","UUID":"u","BlockSize":4096,"DirStats":1})",
        R"({"Name":"a","UUID":"u","BlockSize":4096,"Tiers":[]})",
        R"({"Name":"a","UUID":"u","BlockSize":4096,"Tiers":{"4":{}}})",
        R"({"Name":"a","UUID":"u","BlockSize":4096,"Tiers":{"0":7}})",
        R"({"Name":"a","UUID":"u","BlockSize":4096,"Tiers":{"0":{"ID":"x"}}})"}) {
    auto const setting = decode_setting(json);
    ASSERT_FALSE(setting.ok()) << json;
    EXPECT_EQ(setting.error().fault(), Fault::corrupt) << json;
  }
  auto const setting = decode_setting(R"({"Name":"a","UUID":"u","SecretKey":["hush"]})");
  EXPECT_EQ(setting.error().text(), "the Setting: field SecretKey is not text");
}

TEST(Setting, DeeplyNestedJsonIsNoCrash) {
  EXPECT_FALSE(decode_setting(std::string(1000000, '[')).ok());
  EXPECT_FALSE(
      decode_setting(R"({"Name":)" + std::string(100000, '[') + std::string(100000, ']') + "}")
          .ok());
}

TEST(Secrets, SurviveEncryption) {
  auto setting = plain();
  ASSERT_TRUE(encrypt_secrets(setting).ok());
  EXPECT_FALSE(setting.key_encrypted) << "nothing to encrypt";
  setting.secret_key = "hush";
  setting.encrypt_key = std::string(3000, 'k');
  auto const before = setting;
  ASSERT_TRUE(encrypt_secrets(setting).ok());
  EXPECT_TRUE(setting.key_encrypted);
  EXPECT_EQ(setting.secret_key.size(), (4U + 12 + 16 + 2) / 3 * 4);
  EXPECT_EQ(setting.session_token, "");
  auto const sealed = setting;
  ASSERT_TRUE(encrypt_secrets(setting).ok());
  EXPECT_EQ(setting, sealed) << "never twice";
  ASSERT_TRUE(decrypt_secrets(setting).ok());
  EXPECT_EQ(setting, before);
}

TEST(Secrets, FailClearlyWhenTheyCannotBeRead) {
  auto setting = plain();
  setting.secret_key = "hush";
  ASSERT_TRUE(encrypt_secrets(setting).ok());
  auto other = setting;
  other.uuid = "another";
  EXPECT_TRUE(failed_with(decrypt_secrets(other), Errc::inval));
  EXPECT_TRUE(other.key_encrypted) << "unchanged after a failure";
  for (auto const* text :
       {"removed", "x", "====", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "A=A="}) {
    setting.secret_key = text;
    EXPECT_TRUE(failed_with(decrypt_secrets(setting), Errc::inval)) << text;
  }
}

TEST(Secrets, AreRedacted) {
  auto setting = plain();
  setting.secret_key = "hush";
  auto const shown = encode_setting(redact(setting));
  EXPECT_EQ(shown.find("hush"), std::string::npos);
  EXPECT_NE(shown.find("\"SecretKey\": \"removed\""), std::string::npos);
  EXPECT_EQ(redact(plain()), plain()) << "empty secrets stay empty";
}

TEST(Versions, CompareByNumbersThenPreRelease) {
  EXPECT_TRUE(*compare_versions("1.10.0", "1.9.9") > 0);
  EXPECT_TRUE(*compare_versions("1.1.0-A", "1.1.0-beta1") < 0);
  EXPECT_TRUE(*compare_versions("1.1.0-beta1", "1.1.0") < 0);
  EXPECT_TRUE(*compare_versions("1.4.1+2026-01-01.abc", "1.4.1") == 0);
  for (auto const* bad : {"", "1", "1.2", "1.2.x", "v1.2.3", "1.2.3.4", "1..3", "-1.2.3"}) {
    EXPECT_TRUE(failed_with(compare_versions(bad, "1.0.0"), Errc::inval)) << bad;
  }
}

TEST(Versions, GateClients) {
  auto setting = plain();
  EXPECT_TRUE(check_client_version(setting, kCompatibleVersion).ok());
  setting.min_client_version = "1.5.0";
  EXPECT_TRUE(failed_with(check_client_version(setting, "1.4.1"), Errc::perm));
  setting.min_client_version = "";
  setting.max_client_version = "1.4.0";
  EXPECT_TRUE(failed_with(check_client_version(setting, "1.4.1"), Errc::perm));
  setting.max_client_version = "1.4.1";
  EXPECT_TRUE(check_client_version(setting, "1.4.1").ok());
  setting.meta_version = 2;
  EXPECT_TRUE(failed_with(check_client_version(setting, "1.4.1"), Errc::perm));
}

TEST(Versions, FeaturesRaiseTheMinimum) {
  Setting setting;
  ASSERT_TRUE(raise_min_version_for_features(setting).ok());
  EXPECT_EQ(setting.min_client_version, "1.1.0-A");
  setting.enable_acl = true;
  ASSERT_TRUE(raise_min_version_for_features(setting).ok());
  EXPECT_EQ(setting.min_client_version, "1.2.0-A");
  setting.ranger_service = "r";
  ASSERT_TRUE(raise_min_version_for_features(setting).ok());
  EXPECT_EQ(setting.min_client_version, "1.3.0-A");
  setting.tiers[1] = {.id = 1};
  ASSERT_TRUE(raise_min_version_for_features(setting).ok());
  EXPECT_EQ(setting.min_client_version, "1.4.0-A");
  setting.min_client_version = "2.0.0";
  ASSERT_TRUE(raise_min_version_for_features(setting).ok());
  EXPECT_EQ(setting.min_client_version, "2.0.0");
}

TEST(VolumeName, FollowsTheRule) {
  for (auto const* good : {"abc", "a-b", "0a9"}) {
    EXPECT_TRUE(validate_volume_name(good).ok()) << good;
  }
  EXPECT_TRUE(validate_volume_name(std::string(63, 'a')).ok());
  for (auto const* bad : {"", "ab", "-ab", "ab-", "aBc", "a_b", "a b", "a/b"}) {
    EXPECT_TRUE(failed_with(validate_volume_name(bad), Errc::inval)) << bad;
  }
  EXPECT_FALSE(validate_volume_name(std::string(64, 'a')).ok());
}

TEST(BlockSize, IsRoundedDownAndClamped) {
  EXPECT_EQ(round_block_size_kib(4096), 4096U);
  EXPECT_EQ(round_block_size_kib(4097), 4096U);
  EXPECT_EQ(round_block_size_kib(4095), 2048U);
  EXPECT_EQ(round_block_size_kib(0), 64U);
  EXPECT_EQ(round_block_size_kib(~std::uint64_t{0}), 16384U);
}

TEST(GoJson, EscapesAsGo) {
  std::string out;
  append_go_json_string(
      out, std::string_view("a\"\\\b\f\n\r\t\x01\x7f<>&"
                            "\xC3\xA9\xE2\x80\xA8\xFF\xED\xA0\x80\xF0\x9F\x98\x80\xC0\x80\0z",
                            30));
  EXPECT_EQ(out,
            "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f\\u003c\\u003e\\u0026\xC3\xA9\\u2028\\ufffd\\ufff"
            "d\\ufffd\\ufffd"
            "\xF0\x9F\x98\x80\\ufffd\\ufffd\\u0000z\"");
}

}  // namespace
}  // namespace zest

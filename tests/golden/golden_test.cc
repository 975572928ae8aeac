// Goal: documents and files that the peer wrote decode, and encode to the same bytes.
#include <gtest/gtest.h>

#include "tests/golden/golden_data.h"
#include "zest/format/cache_block.h"
#include "zest/format/object_name.h"
#include "zest/format/sealed_block.h"
#include "zest/format/setting.h"
#include "zest/format/test_bytes.h"
#include "zest/object/encrypt/sealer.h"

namespace zest {
namespace {

Setting setting_of(std::string const& name) {
  auto setting = decode_setting(golden_file("settings/" + name + ".json"));
  EXPECT_TRUE(setting.ok()) << name;
  return setting.ok() ? *std::move(setting) : Setting{};
}

TEST(GoldenSetting, EncodesToTheSameBytes) {
  for (auto const* name : {"default", "secrets", "all-format", "shards", "encrypted", "kerberos",
                           "tiers", "all-config"}) {
    EXPECT_EQ(encode_setting(setting_of(name)),
              golden_file(std::string("settings/") + name + ".json"))
        << name;
  }
}

TEST(GoldenSetting, HoldsWhatThePeerWasTold) {
  auto const format = setting_of("all-format");
  EXPECT_EQ(format.storage_class, "IA");
  EXPECT_EQ(format.block_size_bytes(), 1U << 20);
  EXPECT_EQ(format.compression, "lz4");
  EXPECT_TRUE(format.hash_prefix && format.enable_acl && format.dir_stats);
  EXPECT_EQ(format.capacity_bytes, 10 * (1ULL << 30));
  EXPECT_EQ(format.inodes, 1000U);
  EXPECT_EQ(format.trash_days, 0);
  EXPECT_EQ(format.encrypt_algo, "chacha20-rsa");
  EXPECT_EQ(format.ranger_rest_url, "http://192.0.2.9/?a=b&c");
  EXPECT_EQ(format.ranger_service, "svc");
  auto const config = setting_of("all-config");
  EXPECT_EQ(config.upload_limit_mbps, 80);
  EXPECT_EQ(config.download_limit_mbps, 160);
  EXPECT_TRUE(config.user_group_quota && config.change_log && !config.dir_stats);
  EXPECT_EQ(config.change_log_age_max_sec, 7200);
  EXPECT_EQ(config.change_log_lines_max, 100);
  EXPECT_EQ(config.max_client_version, "2.0.0");
  EXPECT_EQ(setting_of("shards").shards, 2);
  EXPECT_EQ(setting_of("tiers").tiers.at(1), (Tier{1, "COLD", "a=b"}));
  EXPECT_EQ(setting_of("kerberos").kerb_conf, "proxyuser.<a>&b=*\n");
}

TEST(GoldenSetting, SecretsDecrypt) {
  auto secrets = setting_of("secrets");
  ASSERT_TRUE(secrets.key_encrypted);
  ASSERT_TRUE(decrypt_secrets(secrets).ok());
  EXPECT_EQ(secrets.secret_key, "s<k>&\xC3\xA9");
  EXPECT_EQ(secrets.session_token, "t\"\\");
  EXPECT_EQ(secrets.access_key, "ak");
  auto encrypted = setting_of("encrypted");
  ASSERT_TRUE(decrypt_secrets(encrypted).ok());
  EXPECT_TRUE(encrypted.encrypt_key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
}

TEST(GoldenSetting, MinimumVersionsFollowTheFeatures) {
  for (auto const* name :
       {"default", "secrets", "all-format", "shards", "encrypted", "kerberos", "tiers"}) {
    auto const written = setting_of(name);
    auto setting = written;
    setting.min_client_version.clear();
    ASSERT_TRUE(raise_min_version_for_features(setting).ok());
    EXPECT_EQ(setting.min_client_version, written.min_client_version) << name;
    EXPECT_TRUE(check_client_version(written, kCompatibleVersion).ok()) << name;
  }
}

TEST(GoldenCache, FilesHaveOurLayoutAndBytes) {
  auto const lines = golden_lines("cache.txt");
  ASSERT_EQ(lines.size(), 10U);
  std::size_t footers = 0;
  for (auto const& line : lines) {
    auto const block = parse_block_key(line[1], false);
    ASSERT_TRUE(block.ok()) << line[1];
    std::string data;
    while (data.size() < block->size) {
      data += "hello\n";
    }
    data.resize(block->size);
    auto const extra = from_hex(line[2] == "-" ? "" : line[2]);
    auto const layout = cache_file_layout(data.size() + extra.size(), block->size);
    ASSERT_TRUE(layout.ok()) << line[1];
    EXPECT_EQ(layout->checksums_size != 0, line[0] == "extend") << line[1];
    auto const checksums = extra.substr(0, layout->checksums_size);
    EXPECT_TRUE(checksums.empty() || verify_cache_checksums(as_bytes(data), 0, checksums).ok())
        << line[1];
    auto expected = line[0] == "extend" ? cache_checksums(as_bytes(data)) : std::string();
    if (layout->footer_size != 0) {
      auto const tier = decode_staging_footer(extra.substr(layout->checksums_size));
      ASSERT_TRUE(tier.ok()) << line[1];
      EXPECT_EQ(*tier, 1);
      expected += encode_staging_footer(*tier, line[0] == "extend");
      ++footers;
    }
    EXPECT_EQ(to_hex(expected), to_hex(extra)) << line[1];
  }
  EXPECT_EQ(footers, 4U) << "files in the folder of tier 1";
}

TEST(GoldenSealed, ObjectHasItsParts) {
  auto const object = from_hex(golden_file("sealed-uuid.txt"));
  auto const block = parse_sealed_block(object);
  ASSERT_TRUE(block.ok());
  EXPECT_EQ(block->wrapped_key.size(), 256U);
  EXPECT_EQ(block->nonce.size(), 12U);
  EXPECT_EQ(block->sealed.size(), 36 + kSealTagSize);
}

// Goal: with the key of the peer's Setting its object is the volume's UUID again.
TEST(GoldenSealed, ObjectOpensWithTheKeyOfItsVolume) {
  auto setting = decode_setting(golden_file("settings/encrypted.json"));
  ASSERT_TRUE(setting.ok());
  ASSERT_TRUE(decrypt_secrets(*setting).ok());
  auto key = PrivateKey::parse(setting->encrypt_key, "");
  ASSERT_TRUE(key.ok()) << key.error().text();
  auto const sealer = Sealer::create(*std::move(key), setting->encrypt_algo);
  ASSERT_TRUE(sealer.ok());
  auto object = from_hex(golden_file("sealed-uuid.txt"));
  auto const plain = (*sealer)->open(std::as_writable_bytes(std::span(object)));
  ASSERT_TRUE(plain.ok()) << plain.error().text();
  EXPECT_EQ(as_text(*plain), setting->uuid);
}

}  // namespace
}  // namespace zest

// Goal: format and config change exactly what was asked for, refuse what cannot change, and never
// store or show a secret in plain text.
#include "zest/admin/setting_update.h"

#include <gtest/gtest.h>

#include <string>

#include "zest/format/setting.h"

namespace zest::admin {
namespace {

Setting a_volume() {
  auto setting = new_setting("c223a4ce-86ca-41b1-b255-d794d01d0a80");
  auto const done = apply_changes(setting, {.name = "vol", .bucket = "/b/"});
  EXPECT_TRUE(done.ok()) << done.error().text();
  return setting;
}

TEST(SettingUpdate, DefaultsOfANewVolumeAreThePeers) {
  // The document that JuiceFS 1.4.1 wrote for `format --storage file --bucket /b vol`.
  EXPECT_EQ(encode_setting(a_volume()), R"({
"Name": "vol",
"UUID": "c223a4ce-86ca-41b1-b255-d794d01d0a80",
"Storage": "file",
"Tiers": {
"0": {
"ID": 0,
"StorageClass": "",
"Tag": ""
}
},
"Bucket": "/b/",
"BlockSize": 4096,
"Compression": "none",
"EncryptAlgo": "aes256gcm-rsa",
"TrashDays": 1,
"MetaVersion": 1,
"MinClientVersion": "1.1.0-A",
"DirStats": true,
"EnableACL": false
})");
}

TEST(SettingUpdate, BlockSizeIsRoundedDown) {
  auto setting = new_setting("u");
  ASSERT_TRUE(apply_changes(setting, {.name = "vol", .block_size_kib = 3000}).ok());
  EXPECT_EQ(setting.block_size_kib, 2048);
}

TEST(SettingUpdate, BadValuesAreRefused) {
  auto refused = [](SettingChanges const& changes) {
    auto setting = a_volume();
    return failed_with(apply_changes(setting, changes), Errc::inval);
  };
  EXPECT_TRUE(refused({.name = "Bad_Name"}));
  EXPECT_TRUE(refused({.block_size_kib = 0}));
  EXPECT_TRUE(refused({.compression = "gzip"}));
  EXPECT_TRUE(refused({.shards = 257}));
  EXPECT_TRUE(refused({.trash_days = -1}));
  EXPECT_TRUE(refused({.upload_limit_mbps = -1}));
  EXPECT_TRUE(refused({.min_client_version = "1.0.0"}));
  EXPECT_TRUE(refused({.min_client_version = "new"}));
}

TEST(SettingUpdate, WhatNeverChanges) {
  auto const before = a_volume();
  auto refused = [&before](SettingChanges const& changes) {
    auto after = before;
    EXPECT_TRUE(apply_changes(after, changes).ok());
    return failed_with(check_unchangeable(before, after), Errc::perm);
  };
  EXPECT_TRUE(refused({.name = "other"}));
  EXPECT_TRUE(refused({.block_size_kib = 1024}));
  EXPECT_TRUE(refused({.compression = "lz4"}));
  EXPECT_TRUE(refused({.shards = 2}));
  EXPECT_TRUE(refused({.hash_prefix = true}));
  EXPECT_FALSE(refused({.bucket = "/other/", .capacity_bytes = 1, .trash_days = 7}));
  // No compression has two spellings.
  EXPECT_FALSE(refused({.compression = ""}));
}

TEST(SettingUpdate, SecretsAreStoredEncryptedAndNeverShown) {
  auto const before = a_volume();
  auto after = before;
  ASSERT_TRUE(apply_changes(after, {.secret_key = "hunter2"}).ok());
  EXPECT_TRUE(after.key_encrypted);
  EXPECT_NE(after.secret_key, "hunter2");
  EXPECT_EQ(encode_setting(after).find("hunter2"), std::string::npos);
  auto const found = differences(before, after);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].name, "secret-key");
  EXPECT_EQ(found[0].after, "removed");
  ASSERT_TRUE(decrypt_secrets(after).ok());
  EXPECT_EQ(after.secret_key, "hunter2");
}

TEST(SettingUpdate, AnotherChangeLeavesSecretsAsTheyAre) {
  auto setting = a_volume();
  setting.secret_key = "plain";  // as an old client stored it
  ASSERT_TRUE(apply_changes(setting, {.trash_days = 3}).ok());
  EXPECT_EQ(setting.secret_key, "plain");
  ASSERT_TRUE(apply_changes(setting, {.encrypt_secret = true}).ok());
  EXPECT_NE(setting.secret_key, "plain");
  ASSERT_TRUE(apply_changes(setting, {.session_token = "token"}).ok());
  ASSERT_TRUE(decrypt_secrets(setting).ok());
  EXPECT_EQ(setting.secret_key, "plain");
  EXPECT_EQ(setting.session_token, "token");
}

TEST(SettingUpdate, DifferencesAreNamedLikeTheOptions) {
  auto const before = a_volume();
  auto after = before;
  ASSERT_TRUE(apply_changes(after, {.capacity_bytes = 10, .trash_days = 3}).ok());
  auto const found = differences(before, after);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].name, "capacity");
  EXPECT_EQ(found[0].before, "0");
  EXPECT_EQ(found[0].after, "10");
  EXPECT_EQ(found[1].name, "trash-days");
}

}  // namespace
}  // namespace zest::admin

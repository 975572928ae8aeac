// Case-insensitive mounts, and the folding that they compare names with.
#include <gtest/gtest.h>

#include <string>

#include "zest/meta/case_fold.h"
#include "zest/meta/meta_cases.h"

namespace zest::meta {
namespace {

using testing::Client;
using testing::make;
using testing::number;
using testing::OnEngines;
using testing::Volume;
using zest::testing::run_simulated;

TEST(CaseFold, ComparesByUnicodesSimpleFolding) {
  EXPECT_TRUE(equal_fold("", ""));
  EXPECT_TRUE(equal_fold("Readme.TXT", "rEADME.txt"));
  EXPECT_FALSE(equal_fold("a", "ab"));
  EXPECT_FALSE(equal_fold("a[", "A{"));
  EXPECT_TRUE(equal_fold("ÄÖÜ", "äöü"));
  EXPECT_TRUE(equal_fold("ŁÓDŹ", "łódź"));
  EXPECT_TRUE(equal_fold("ΣΊΣΥΦΟΣ", "σίσυφος"));
  EXPECT_TRUE(equal_fold("МОСКВА", "москва"));
  EXPECT_TRUE(equal_fold("\u212Aelvin", "kELVIN"));
  EXPECT_TRUE(equal_fold("\U00010400", "\U00010428"));
  EXPECT_TRUE(equal_fold("ẞ", "ß"));
  EXPECT_FALSE(equal_fold("ss", "ß"));  // one character is not two
}

TEST(CaseFold, BytesThatAreNoTextEqualOnlyThemselves) {
  EXPECT_TRUE(equal_fold("\xFFX", "\xFFx"));
  EXPECT_FALSE(equal_fold("\xFF", "\xFE"));
  EXPECT_FALSE(equal_fold("\xC3", "\xC3\xA4"));
  EXPECT_TRUE(equal_fold("\xE4\xB8", "\xE4\xB8"));
  EXPECT_FALSE(equal_fold("\xC1\x81", "A"));
}

class CaseInsensitive : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, CaseInsensitive, testing::engine_cases(), testing::case_name);

// Goal: every operation on names finds an entry that differs in case, and makes no second one; the
// stored name stays; the exact name wins; other mounts are not concerned.
TEST_P(CaseInsensitive, NamesThatDifferInCaseAreTheSame) {
  run_simulated([&] {
    Volume volume(engine());
    MetaConfig config;
    config.case_insensitive = true;
    Client client(volume, config);
    Client exact(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "Datei");
    EXPECT_EQ(client.meta.lookup(volume.root, kRootIno, "dATEI")->ino, file);
    EXPECT_EQ(number(exact.meta.lookup(volume.root, kRootIno, "dATEI")), ENOENT);
    EXPECT_EQ(number(make(client, FileType::directory, kRootIno, "DATEI")), EEXIST);
    auto const dir = *make(client, FileType::directory, kRootIno, "Dir");
    EXPECT_EQ(number(client.meta.link(volume.root, file, kRootIno, "DIR")), EEXIST);
    EXPECT_EQ(client.meta.readdir(volume.root, {.dir = kRootIno})->entries.size(), 2U);

    auto const upper = *make(exact, FileType::regular, kRootIno, "DATEI");
    EXPECT_EQ(client.meta.lookup(volume.root, kRootIno, "DATEI")->ino, upper);
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "DATEI").ok());
    EXPECT_EQ(client.meta.lookup(volume.root, kRootIno, "DATEI")->ino, file);

    // A rename may change the case alone, and replaces what has the name in another case.
    auto const rename = [&](std::string_view from, Ino to_dir, std::string_view to) {
      return number(client.meta.rename(
          volume.root, {.parent = kRootIno, .name = from, .new_parent = to_dir, .new_name = to}));
    };
    EXPECT_EQ(rename("datei", kRootIno, "DATEI"), 0);
    EXPECT_EQ(exact.meta.lookup(volume.root, kRootIno, "DATEI")->ino, file);
    ASSERT_TRUE(make(client, FileType::regular, dir, "Old").ok());
    EXPECT_EQ(rename("Datei", dir, "OLD"), 0);
    EXPECT_EQ(exact.meta.lookup(volume.root, dir, "Old")->ino, file);
    EXPECT_EQ(client.meta.readdir(volume.root, {.dir = dir})->entries.size(), 1U);
    EXPECT_TRUE(client.meta.unlink(volume.root, dir, "OLD").ok());
    EXPECT_TRUE(client.meta.rmdir(volume.root, kRootIno, "DIR").ok());
    EXPECT_EQ(number(client.meta.lookup(volume.root, kRootIno, "dir")), ENOENT);
  });
}

}  // namespace
}  // namespace zest::meta

// One SQLite volume, two clients: the peer accepts what this engine initialised, and each sees what
// the other did while both have the file open. Needs the peer's program in $ZEST_PEER (or
// ~/.cache/zest-peer/juicefs) and FUSE; skipped without.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp, getenv, system
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/meta/engine/sql/sqlite.h"

namespace zest::meta {

namespace {

std::string peer_program() {
  if (auto const* path = getenv("ZEST_PEER")) {
    return path;
  }
  auto const* home = getenv("HOME");
  auto const path = std::string(home == nullptr ? "" : home) + "/.cache/zest-peer/juicefs";
  return access(path.c_str(), X_OK) == 0 ? path : "";
}

class PeerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (peer_program().empty() || access("/dev/fuse", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "needs the peer's program and FUSE";
    }
    auto pattern = (std::filesystem::temp_directory_path() / "zest-peer-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    mount_point = folder / "mnt";
    std::filesystem::create_directories(folder / "objects");
  }
  void TearDown() override {
    if (!folder.empty()) {
      if (mounted) {
        run(fmt::format("{} umount {}", peer_program(), mount_point.string()));
      }
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
    }
  }
  int run(std::string const& command) const {
    return system(fmt::format("{} >>{}/log 2>&1", command, folder.string()).c_str());
  }
  std::string url() const { return "sqlite3://" + (folder / "volume.db").string(); }
  std::string peer_log() const {
    std::ifstream file(folder / "log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string setting() const {
    return fmt::format(
        "{{\n\"Name\": \"shared\",\n\"UUID\": \"6e2b2c1e-3a44-4a5b-9a71-3f0b4f0e5a01\",\n"
        "\"Storage\": \"file\",\n\"Bucket\": \"{}/objects/\",\n\"BlockSize\": 4096,\n"
        "\"Compression\": \"none\",\n\"TrashDays\": 0,\n\"MetaVersion\": 1,\n"
        "\"MinClientVersion\": \"1.1.0-A\",\n\"DirStats\": true,\n\"EnableACL\": false\n}}",
        folder.string());
  }

  std::filesystem::path folder;
  std::filesystem::path mount_point;
  bool mounted = false;
  Logger log{LogConfig{.level = LogLevel::warn, .file = {}, .json = false, .color = false}};
  Registry metrics;
  Context ctx;
};

TEST_F(PeerTest, TwoClientsShareAVolumeThatWeInitialised) {
  auto const options = parse_sqlite_url(url());
  ASSERT_TRUE(options.ok());
  auto const engine = open_sqlite(*options, log, metrics);
  ASSERT_TRUE(engine.ok()) << engine.error().text();
  WallTime const now{1'800'000'000, 123'456'789};
  Attr const root{.type = FileType::directory,
                  .mode = 0777,
                  .atime = now,
                  .mtime = now,
                  .ctime = now,
                  .nlink = 2,
                  .length = 4096,
                  .parent = kRootIno};
  ASSERT_TRUE((*engine)->initialize(ctx, setting(), root, std::nullopt).ok());
  ASSERT_EQ(run(fmt::format("{} status '{}'", peer_program(), url())), 0) << peer_log();
  ASSERT_EQ(run(fmt::format("{} mount --no-usage-report -d --cache-dir {}/cache '{}' {}",
                            peer_program(), folder.string(), url(), mount_point.string())),
            0)
      << peer_log();
  mounted = true;

  // The peer writes, we read.
  std::filesystem::create_directory(mount_point / "theirs");
  std::ofstream(mount_point / "theirs" / "file") << "hello";
  Key key = ChildKey{kRootIno, "theirs"};
  auto const dir = (*engine)->fetch(ctx, std::span(&key, 1));
  ASSERT_TRUE(dir.ok()) << dir.error().text();
  auto const* child = std::get_if<Child>(&(*dir)[0]);
  ASSERT_NE(child, nullptr) << "their directory is not visible";
  key = ChildKey{child->entry.ino, "file"};
  auto const file = (*engine)->fetch(ctx, std::span(&key, 1));
  ASSERT_TRUE(file.ok()) << file.error().text();
  auto const* their_file = std::get_if<Child>(&(*file)[0]);
  ASSERT_NE(their_file, nullptr);
  ASSERT_TRUE(their_file->attr);
  EXPECT_EQ(their_file->attr->length, 5U);
  auto const chunks = (*engine)->list_chunks(ctx, {their_file->entry.ino, ChunkIndex{0}}, 10);
  ASSERT_TRUE(chunks.ok()) << chunks.error().text();
  ASSERT_EQ(chunks->chunks.size(), 1U);

  // Both write at the same time; we take our ids from the shared counter.
  auto const ids = (*engine)->allocate_ids(ctx, IdKind::inode, 100);
  ASSERT_TRUE(ids.ok()) << ids.error().text();
  for (std::uint64_t i = 0; i < 100; ++i) {
    Ino const ino{ids->first + i};
    Attr attr = root;
    attr.type = FileType::symlink;
    attr.nlink = 1;
    attr.length = 6;
    auto const result = (*engine)->commit(
        ctx, {.conditions = {ExpectAbsent{EdgeKey{kRootIno, fmt::format("ours{}", i)}}},
              .changes = {Put{NodeKey{ino}, attr}, Put{SymlinkKey{ino}, std::string("theirs")},
                          Put{EdgeKey{kRootIno, fmt::format("ours{}", i)},
                              Entry{FileType::symlink, ino}}}});
    ASSERT_TRUE(result.ok()) << result.error().text();
    std::ofstream(mount_point / fmt::format("peer{}", i)) << i;
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(std::filesystem::read_symlink(mount_point / fmt::format("ours{}", i)), "theirs");
  }
  auto const page = (*engine)->list_dir(ctx, {.dir = kRootIno, .limit = 1000, .attrs = true});
  ASSERT_TRUE(page.ok()) << page.error().text();
  EXPECT_EQ(page->entries.size(), 201U);
  EXPECT_EQ(log.error_count(), 0U);
}

}  // namespace

}  // namespace zest::meta

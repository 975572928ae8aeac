// Goal: restoring an hour puts trees together again in the trash, or everything back to its place,
// and tells what it could not move.
#include "zest/admin/restore.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "zest/format/trash.h"
#include "zest/meta/testing.h"

namespace zest::admin {
namespace {

using meta::testing::Client;
using meta::testing::make;
using meta::testing::make_setting;
using meta::testing::Volume;
using zest::testing::run_simulated;

/// /d/sub/f and /d/g, deleted from the inside out, in one hour.
struct Deleted {
  explicit Deleted(Client& client) {
    d = *make(client, FileType::directory, kRootIno, "d");
    sub = *make(client, FileType::directory, d, "sub");
    f = *make(client, FileType::regular, sub, "f-with-dashes");
    g = *make(client, FileType::regular, d, "g");
    Context const ctx;
    EXPECT_TRUE(client.meta.unlink(ctx, sub, "f-with-dashes").ok());
    EXPECT_TRUE(client.meta.unlink(ctx, d, "g").ok());
    EXPECT_TRUE(client.meta.rmdir(ctx, d, "sub").ok());
    EXPECT_TRUE(client.meta.rmdir(ctx, kRootIno, "d").ok());
  }
  Ino d, sub, f, g;
};

std::string this_hour(Volume& volume) {
  return trash_dir_name(volume.clock.wall());
}

TEST(Restore, PutsTreesTogetherInTheTrash) {
  run_simulated([] {
    Volume volume(meta::make_memory_engine({}), make_setting(1));
    Client client(volume);
    Deleted const gone(client);
    auto const hour = this_hour(volume);
    auto const report = restore(volume.root, client.meta, {.hour = hour});
    ASSERT_TRUE(report.ok()) << report.error().text();
    EXPECT_EQ(report->entries, 4U);
    EXPECT_EQ(report->restored, 3U);
    EXPECT_EQ(report->left, 1U);  // d itself: its directory is the root.
    EXPECT_EQ(client.meta.lookup(volume.root, gone.d, "g")->ino, gone.g);
    EXPECT_EQ(client.meta.lookup(volume.root, gone.sub, "f-with-dashes")->ino, gone.f);
    EXPECT_FALSE(client.meta.lookup(volume.root, kRootIno, "d").ok());
    auto const again = restore(volume.root, client.meta, {.hour = hour, .put_back = true});
    EXPECT_EQ(again->restored, 1U);
    EXPECT_EQ(client.meta.lookup(volume.root, kRootIno, "d")->ino, gone.d);
    EXPECT_EQ(client.meta.getattr(volume.root, gone.d)->nlink, 3U);
  });
}

TEST(Restore, PutsEverythingBack) {
  run_simulated([] {
    Volume volume(meta::make_memory_engine({}), make_setting(1));
    Client client(volume);
    Deleted const gone(client);
    for (int i = 0; i < 3000; ++i) {
      auto const name = "many-" + std::to_string(i);
      ASSERT_TRUE(make(client, FileType::regular, kRootIno, name).ok());
      ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, name).ok());
    }
    std::uint64_t told = 0;
    auto const report = restore(volume.root, client.meta,
                                {.hour = this_hour(volume),
                                 .put_back = true,
                                 .progress = [&](RestoreReport const&) { ++told; }});
    ASSERT_TRUE(report.ok()) << report.error().text();
    EXPECT_EQ(report->restored, 3004U);
    EXPECT_EQ(told, 3U);
    EXPECT_EQ(client.meta.lookup(volume.root, kRootIno, "d")->ino, gone.d);
    EXPECT_EQ(client.meta.lookup(volume.root, gone.d, "sub")->ino, gone.sub);
    EXPECT_TRUE(client.meta.lookup(volume.root, kRootIno, "many-2999").ok());
  });
}

TEST(Restore, TellsWhatStays) {
  run_simulated([] {
    Volume volume(meta::make_memory_engine({}), make_setting(1));
    Client client(volume);
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "f").ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "f").ok());
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "f").ok());
    auto const lost = *make(client, FileType::directory, kRootIno, "lost");
    ASSERT_TRUE(make(client, FileType::regular, lost, "child").ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, lost, "child").ok());
    meta::Commit drop;  // A directory that is gone for good, and a name that nobody understands.
    drop.changes.emplace_back(meta::Erase{meta::EdgeKey{kRootIno, "lost"}});
    drop.changes.emplace_back(meta::Erase{meta::NodeKey{lost}});
    auto const hour = client.meta.lookup(volume.root, kTrashIno, this_hour(volume))->ino;
    drop.changes.emplace_back(
        meta::Put{meta::EdgeKey{hour, "strange"}, Entry{FileType::regular, Ino{999}}});
    ASSERT_TRUE(volume.engine->commit(volume.root, drop).ok());
    std::vector<std::string> problems;
    auto const report = restore(
        volume.root, client.meta,
        {.hour = this_hour(volume),
         .put_back = true,
         .problem = [&](std::string_view name, Error const&) { problems.emplace_back(name); }});
    ASSERT_TRUE(report.ok()) << report.error().text();
    EXPECT_EQ(report->conflicts, 1U);
    EXPECT_EQ(report->failed, 2U);
    EXPECT_EQ(problems.size(), 3U);
  });
}

TEST(Restore, Errors) {
  run_simulated([] {
    Volume volume(meta::make_memory_engine({}), make_setting(1));
    Client client(volume);
    auto const number = [&](Context const& ctx, std::string_view hour) {
      auto const report = restore(ctx, client.meta, {.hour = hour});
      return report.ok() ? 0 : report.error().number();
    };
    EXPECT_EQ(number(volume.root, "2001-01-01-01"), ENOENT);
    EXPECT_EQ(number(volume.root, "yesterday"), EINVAL);
    Context user;
    user.caller.uid = 7;
    EXPECT_EQ(number(user, "2001-01-01-01"), EPERM);
  });
}

}  // namespace
}  // namespace zest::admin

// An etcd cluster loses its leader under a load of commits: whatever was acknowledged is there,
// nothing hangs longer than its time-outs. ZEST_TEST_ETCD_CLUSTER is its URL, ZEST_TEST_ETCD_KILL a
// command that kills the leader; skipped without.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/meta/engine/kv/etcd/etcd_store.h"
#include "zest/meta/engine/kv/etcd/etcd_url.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta {
namespace {

/// Sixteen fibers create files in one directory for ten seconds and note what they were told.
class Load {
 public:
  explicit Load(Engine& engine) : engine_(engine) {}

  void run(std::atomic<int> const& killed) {
    auto const end = Loop::current()->now() + std::chrono::seconds(10);
    for (std::uint64_t fiber = 0; fiber < 16; ++fiber) {
      scope_.spawn([this, fiber, end, &killed] {
        for (std::uint64_t i = 0; Loop::current()->now() < end; ++i) {
          create(Ino{100 + fiber * 1'000'000 + i}, killed);
        }
      });
    }
  }
  void join() { scope_.join(); }

  std::set<std::string> acknowledged;
  std::set<std::string> unknown;
  std::size_t after_the_kill = 0;
  Duration longest{};

 private:
  void create(Ino ino, std::atomic<int> const& killed) {
    auto const name = std::to_string(ino.value);
    auto const begin = Loop::current()->now();
    auto const result = engine_.commit(
        Context(), {.conditions = {ExpectAbsent{EdgeKey{kRootIno, name}}},
                    .changes = {Put{EdgeKey{kRootIno, name}, Entry{FileType::regular, ino}},
                                Put{NodeKey{ino}, Attr{.nlink = 1, .parent = kRootIno}},
                                UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
    longest = std::max(longest, Loop::current()->now() - begin);
    if (result.ok()) {
      acknowledged.insert(name);
      after_the_kill += killed == 0 ? 1U : 0U;
    } else {
      EXPECT_EQ(result.error().fault(), Fault::transient) << result.error().text();
      unknown.insert(name);
    }
  }

  Engine& engine_;
  Scope scope_;
};

/// The names in the root directory; each must have its node.
std::set<std::string> list_root(Engine& engine) {
  std::set<std::string> found;
  std::string from;
  do {
    auto const page = engine.list_dir(Context(), {.dir = kRootIno, .from = from, .attrs = true});
    EXPECT_TRUE(page.ok()) << page.error().text();
    from = page.ok() ? page->next : std::string();
    for (auto const& entry : page.ok() ? page->entries : std::vector<DirEntry>()) {
      EXPECT_TRUE(entry.attr) << "half a commit: " << entry.name;
      found.insert(entry.name);
    }
  } while (!from.empty());
  return found;
}

void survive(EtcdOptions const& options, char const* kill) {
  Logger log{LogConfig{.level = LogLevel::warn, .file = {}, .json = false, .color = false}};
  Registry metrics;
  Context const ctx;
  auto const opened = open_etcd_engine(options, log, metrics);
  ASSERT_TRUE(opened.ok());
  auto& engine = **opened;
  ASSERT_TRUE(engine.reset(ctx).ok());
  Attr const root{.type = FileType::directory, .mode = 0777, .nlink = 2, .parent = kRootIno};
  ASSERT_TRUE(engine.initialize(ctx, "{}", root, std::nullopt).ok());

  Load load(engine);
  std::atomic<int> killed = -1;
  load.run(killed);
  EXPECT_TRUE(Loop::current()->sleep_for(ctx, std::chrono::seconds(2)).ok());
  std::thread killer([&] { killed = std::system(kill); });
  load.join();
  killer.join();
  EXPECT_EQ(killed, 0);
  EXPECT_GT(load.after_the_kill, 0U);
  EXPECT_LT(load.longest, options.request_timeout + options.patience);

  auto const found = list_root(engine);
  for (auto const& name : load.acknowledged) {
    EXPECT_TRUE(found.contains(name)) << name;
  }
  for (auto const& name : found) {
    EXPECT_TRUE(load.acknowledged.contains(name) || load.unknown.contains(name)) << name;
  }
  Key const key = NodeKey{kRootIno};
  auto const values = engine.fetch(ctx, std::span(&key, 1));
  ASSERT_TRUE(values.ok());
  EXPECT_EQ(std::get<Attr>((*values)[0]).nlink, 2 + found.size());
  std::printf("%zu acknowledged (%zu after the kill), %zu unknown, longest %.1f s\n",
              load.acknowledged.size(), load.after_the_kill, load.unknown.size(),
              std::chrono::duration<double>(load.longest).count());
  ASSERT_TRUE(engine.reset(ctx).ok());
}

TEST(EtcdFailover, AcknowledgedCommitsOutliveTheLeader) {
  char const* const url = std::getenv("ZEST_TEST_ETCD_CLUSTER");
  char const* const kill = std::getenv("ZEST_TEST_ETCD_KILL");
  if (url == nullptr || kill == nullptr) {
    GTEST_SKIP() << "needs a cluster and a way to kill its leader";
  }
  EtcdOptions options;
  auto parsed = parse_etcd_url(url);
  ASSERT_TRUE(parsed.ok());
  options.url = *std::move(parsed);
  options.url.path += "/failover";
  zest::testing::run_on_loop([&] { survive(options, kill); });
}

}  // namespace
}  // namespace zest::meta

// Conditions on fields, updates, and the memory engine's faults.
#include "zest/meta/engine/node_fields.h"

#include <gtest/gtest.h>

#include "zest/base/rng.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/runtime/testing.h"

namespace zest::meta {

namespace {

TEST(NodeFields, LinkCountsStayInRange) {
  Attr attr{.nlink = 1};
  apply_update(attr, {.ino = Ino{1}, .add_nlink = -5});
  EXPECT_EQ(attr.nlink, 0U);
  attr.nlink = UINT32_MAX;
  apply_update(attr, {.ino = Ino{1}, .add_nlink = 5});
  EXPECT_EQ(attr.nlink, UINT32_MAX);
}

TEST(NodeFields, KeysAreDescribedWithoutUnprintableBytes) {
  EXPECT_EQ(describe(EdgeKey{Ino{1}, "a\n\x01"}), "entry \"a\\n\\x01\" of directory 1");
  EXPECT_LT(describe(XattrKey{Ino{1}, std::string(1000, 'x')}).size(), 120U);
}

TEST(MemoryEngine, InjectedConflictsChangeNothing) {
  Rng rng(1);
  auto const engine = make_memory_engine({.rng = &rng, .conflict_per_mille = 500});
  Context const ctx;
  int conflicts = 0;
  std::uint32_t passed = 0;
  ASSERT_TRUE(engine->initialize(ctx, "{}", Attr{}, std::nullopt).ok());
  for (int i = 0; i < 1000; ++i) {
    auto const result =
        engine->commit(ctx, {.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
    passed += result.ok() ? 1U : 0U;
    conflicts += !result.ok() && result.error().fault() == Fault::conflict ? 1 : 0;
  }
  EXPECT_GT(conflicts, 300);
  EXPECT_EQ(passed + static_cast<std::uint32_t>(conflicts), 1000U);
  Key const key = NodeKey{kRootIno};
  auto const values = engine->fetch(ctx, std::span(&key, 1));
  ASSERT_TRUE(values.ok());
  EXPECT_EQ(std::get<Attr>((*values)[0]).nlink, passed);
}

TEST(MemoryEngine, ALostReplyIsACommitAllTheSame) {
  Rng rng(1);
  auto const engine = make_memory_engine({.rng = &rng, .lost_reply_per_mille = 1000});
  Context const ctx;
  auto const result = engine->commit(ctx, {.changes = {Put{SymlinkKey{Ino{5}}, std::string("x")}}});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), Errc::timedout);
  Key const key = SymlinkKey{Ino{5}};
  auto const values = engine->fetch(ctx, std::span(&key, 1));
  ASSERT_TRUE(values.ok());
  EXPECT_EQ((*values)[0], Value(std::string("x")));
}

TEST(MemoryEngine, TheHookSeesEachCallAndMayFailIt) {
  std::vector<std::string> calls;
  auto const engine =
      make_memory_engine({.before_call = [&](std::string_view call) -> Result<void> {
        calls.emplace_back(call);
        return call == "sync" ? Result<void>(Errc::io) : Result<void>();
      }});
  Context const ctx;
  EXPECT_TRUE(engine->commit(ctx, {}).ok());
  EXPECT_TRUE(failed_with(engine->sync(ctx), Errc::io));
  EXPECT_EQ(calls, (std::vector<std::string>{"commit", "sync"}));
  EXPECT_EQ(engine->trips(), 2U);
}

}  // namespace

}  // namespace zest::meta

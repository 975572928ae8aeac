// Goal: the Redis engine reads what the peer wrote, and would write the same bytes.
// Method: the golden volumes go into a real server; the tree that the engine lists is compared with
// lstat(2) through the peer's mount, and every record is expected to equal itself in a commit,
// which compares bytes in the server.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/golden/golden_data.h"
#include "zest/meta/engine/redis/redis_fixture.h"
#include "zest/meta/engine/redis/resp.h"
#include "zest/runtime/socket.h"

namespace zest::meta::redis::testing {
namespace {

class GoldenVolume : public RedisTest, public ::testing::WithParamInterface<char const*> {
 protected:
  struct Found {
    Ino ino;
    Attr attr;
  };

  static std::vector<std::string> command_of(GoldenLine const& line) {
    static std::map<std::string, std::string> const kCommands{
        {"string", "SET"}, {"hash", "HSET"}, {"list", "RPUSH"}, {"set", "SADD"}, {"zset", "ZADD"}};
    auto const known = kCommands.find(line[0]);
    if (known == kCommands.end()) {
      return {};
    }
    std::vector<std::string> command(line.begin(), line.end());
    command[0] = known->second;
    if (line[0] == "zset") {
      std::swap(command[2], command[3]);
    }
    return command;
  }

  void load(TestServer const& server, std::vector<GoldenLine> const& lines) {
    std::string bytes;
    std::size_t count = 1;
    append_command(bytes, {"SELECT", "1"});
    for (auto const& line : lines) {
      if (auto const command = command_of(line); !command.empty()) {
        append_command(bytes, command);
        ++count;
      }
    }
    auto socket = Socket::connect_tcp(ctx, "127.0.0.1", static_cast<std::uint16_t>(server.port()));
    ASSERT_TRUE(socket.ok());
    expect_ok(socket->write_all(ctx, as_bytes(bytes)));
    RespParser parser;
    std::vector<std::byte> buffer(65536);
    while (count > 0) {
      auto const got = socket->read_some(ctx, buffer);
      ASSERT_TRUE(got.ok() && *got > 0);
      parser.feed(as_text(std::span(buffer).first(*got)));
      for (auto reply = parser.next(); reply.ok() && *reply; reply = parser.next()) {
        ASSERT_FALSE((*reply)->is_error()) << (*reply)->text;
        --count;
      }
    }
  }

  void walk(Engine& engine, Ino dir, std::string const& path, std::map<std::string, Found>& found) {
    std::string from;
    do {
      auto page = engine.list_dir(ctx, {.dir = dir, .from = from, .limit = 7, .attrs = true});
      ASSERT_TRUE(page.ok()) << page.error().text();
      for (auto const& entry : page->entries) {
        auto const name = path.empty() ? entry.name : path + "/" + entry.name;
        ASSERT_TRUE(entry.attr.has_value()) << name;
        EXPECT_TRUE(found.emplace(name, Found{entry.entry.ino, *entry.attr}).second) << name;
        if (entry.entry.type == FileType::directory) {
          walk(engine, entry.entry.ino, name, found);
        }
      }
      from = page->next;
    } while (!from.empty());
  }
};

std::int64_t nanoseconds(WallTime time) {
  return time.sec * 1'000'000'000 + time.nsec;
}

TEST_P(GoldenVolume, TheTreeIsThatOfThePeersMount) {
  TestServer const server;
  auto const lines = golden_lines(GetParam());
  run([&] {
    load(server, lines);
    auto const engine = open(server.url());
    std::map<std::string, Found> found;
    walk(*engine, kRootIno, "", found);
    walk(*engine, kTrashIno, ".trash", found);
    std::size_t compared = 0;
    for (auto const& line : lines) {
      auto const name = line.back();
      if (line[0] != "stat" || !found.contains(name)) {
        continue;
      }
      SCOPED_TRACE(name);
      auto const& [ino, attr] = found[name];
      EXPECT_EQ(line[1], std::to_string(ino.value));
      EXPECT_EQ(line[2], std::to_string(to_mode_bits(attr.type) | attr.mode));
      EXPECT_EQ(line[3], std::to_string(attr.uid));
      EXPECT_EQ(line[4], std::to_string(attr.gid));
      EXPECT_EQ(line[5], std::to_string(attr.nlink));
      EXPECT_EQ(line[9], std::to_string(nanoseconds(attr.mtime)));
      EXPECT_EQ(line[10], std::to_string(nanoseconds(attr.ctime)));
      ++compared;
    }
    EXPECT_EQ(compared, found.size()) << "each was seen through the mount";
    EXPECT_GT(compared, 20U);
  });
}

TEST_P(GoldenVolume, EveryRecordEqualsItself) {
  TestServer const server;
  auto const lines = golden_lines(GetParam());
  run([&] {
    load(server, lines);
    auto const engine = open(server.url());
    std::map<std::string, Found> found;
    walk(*engine, kRootIno, "", found);
    std::size_t records = 0;
    auto const equals_itself = [&](Key const& key) {
      auto const value = get(*engine, key);
      ASSERT_TRUE(value.ok()) << value.error().text();
      expect_ok(engine->commit(ctx, {.conditions = {ExpectEqual{key, *value}}}));
      records += *value == Value() ? 0U : 1U;
    };
    for (auto const& [name, node] : found) {
      SCOPED_TRACE(name);
      equals_itself(NodeKey{node.ino});
      equals_itself(SymlinkKey{node.ino});
      equals_itself(ParentsKey{node.ino});
      equals_itself(FlocksKey{node.ino});
      equals_itself(PlocksKey{node.ino});
      equals_itself(DirStatKey{node.ino});
      auto const names = engine->list_xattrs(ctx, node.ino);
      ASSERT_TRUE(names.ok());
      for (auto const& xattr : *names) {
        equals_itself(XattrKey{node.ino, xattr});
      }
      auto const chunks = engine->list_chunks(ctx, {node.ino, ChunkIndex{0}}, 100);
      ASSERT_TRUE(chunks.ok()) << chunks.error().text();
      for (auto const& [key, slices] : chunks->chunks) {
        equals_itself(key);
      }
    }
    auto const quotas = engine->list_quotas(ctx);
    ASSERT_TRUE(quotas.ok()) << quotas.error().text();
    for (auto const& entry : *quotas) {
      equals_itself(entry.key);
    }
    auto const rules = engine->list_acls(ctx, 0);
    ASSERT_TRUE(rules.ok()) << rules.error().text();
    for (auto const& rule : *rules) {
      equals_itself(AclKey{rule.id});
    }
    auto const sessions = engine->list_sessions(ctx);
    ASSERT_TRUE(sessions.ok());
    EXPECT_FALSE(sessions->empty());
    EXPECT_TRUE(engine->list_delayed_slices(ctx, INT64_MAX, 100).ok());
    EXPECT_TRUE(engine->list_garbage_slices(ctx, 100).ok());
    EXPECT_TRUE(engine->list_all_chunks(ctx, std::nullopt, 1000).ok());
    EXPECT_GT(records, 50U);
  });
}

INSTANTIATE_TEST_SUITE_P(Redis, GoldenVolume,
                         ::testing::Values("volumes/redis.txt", "volumes/redis-hash-prefix.txt"),
                         [](auto const& volume) { return std::to_string(volume.index); });

}  // namespace
}  // namespace zest::meta::redis::testing

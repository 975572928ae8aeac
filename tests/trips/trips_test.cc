// What each operation costs in trips to its engine, counted on every engine and held here, because
// trips are the budget.
//
// Each operation runs several times on names of its own; the least count is taken, so that a flush
// or a heartbeat in between does not matter.
#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>

#include "tests/conformance/engine/engine_suite.h"
#include "tests/trips/trips_table.h"
#include "zest/meta/meta.h"
#include "zest/meta/testing.h"

namespace zest::meta::testing {
namespace {

constexpr int kRuns = 3;
constexpr int kListed = 2500;
constexpr std::size_t kPage = 1000;

// What one run works on: a directory of its own with a file, a subdirectory and another directory.
struct Place {
  Ino top;
  Ino other;
  Ino file;
  Ino dir;
  Ino link;
};

using Call = std::function<void(Meta&, Place const&)>;
struct Operation {
  std::string name;
  Call call;
  std::uint64_t warm_max;  ///< the budget
};

void ok(auto const& result) {
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().text());
}

void write_one(Meta& meta, Ino file, std::uint64_t id) {
  ok(meta.write_slice({}, {.ino = file,
                           .index = {},
                           .slices = {{.pos = 0, .id = SliceId{id}, .size = 9, .len = 9}},
                           .mtime = {}}));
}

MknodRequest node(Place const& p, std::string_view name, FileType type) {
  return {.parent = p.top, .name = name, .type = type, .mode = 0755, .target = "target"};
}

std::vector<Operation> names() {
  auto const make = [](FileType type) {
    return [type](Meta& meta, Place const& p) { ok(meta.mknod({}, node(p, "new", type))); };
  };
  auto const move = [](std::string_view from, std::uint32_t flags, bool away) {
    return [=](Meta& meta, Place const& p) {
      ok(meta.rename({}, {.parent = p.top,
                          .name = from,
                          .new_parent = away ? p.other : p.top,
                          .new_name = flags != 0 ? std::string_view("dir") : "new",
                          .flags = flags}));
    };
  };
  return {
      {"lookup", [](Meta& m, Place const& p) { ok(m.lookup({}, p.top, "file")); }, 1},
      {"create and open",
       [](Meta& m, Place const& p) { ok(m.create({}, node(p, "new", FileType::regular))); }, 1},
      {"mkdir", make(FileType::directory), 1},
      {"symlink", make(FileType::symlink), 1},
      {"link", [](Meta& m, Place const& p) { ok(m.link({}, p.file, p.top, "new")); }, 1},
      {"rename a file", move("file", 0, false), 1},
      {"rename a file into another directory", move("file", 0, true), 1},
      {"rename a directory into another", move("dir", 0, true), 1},
      {"rename, exchange", move("file", kRenameExchange, false), 1},
      {"unlink", [](Meta& m, Place const& p) { ok(m.unlink({}, p.top, "file")); }, 1},
      {"unlink, not to the trash",
       [](Meta& m, Place const& p) { ok(m.unlink({}, p.top, "file", true)); }, 1},
      {"rmdir", [](Meta& m, Place const& p) { ok(m.rmdir({}, p.top, "dir")); }, 1},
      {"readlink", [](Meta& m, Place const& p) { ok(m.readlink({}, p.link)); }, 1},
  };
}

std::vector<Operation> nodes() {
  return {
      {"getattr", [](Meta& m, Place const& p) { ok(m.getattr({}, p.file)); }, 1},
      {"chmod", [](Meta& m, Place const& p) { ok(m.setattr({}, {.ino = p.file, .mode = 0600})); },
       1},
      {"chown", [](Meta& m, Place const& p) { ok(m.setattr({}, {.ino = p.file, .uid = 5U})); }, 1},
      {"utimens",
       [](Meta& m, Place const& p) { ok(m.setattr({}, {.ino = p.file, .mtime_now = true})); }, 1},
      {"truncate", [](Meta& m, Place const& p) { ok(m.truncate({}, p.file, 5, false)); }, 1},
      {"fallocate",
       [](Meta& m, Place const& p) { ok(m.fallocate({}, {.ino = p.file, .length = 99})); }, 1},
      {"open, close",
       [](Meta& m, Place const& p) {
         ok(m.open({}, p.file, O_RDWR));
         ok(m.close({}, p.file));
       },
       1},
      {"read a chunk's slices", [](Meta& m, Place const& p) { ok(m.read_chunk({}, p.file, {})); },
       1},
      {"write a slice", [](Meta& m, Place const& p) { write_one(m, p.file, p.file.value); }, 1},
      {"setxattr", [](Meta& m, Place const& p) { ok(m.setxattr({}, p.file, "user.a", "1", 0)); },
       2},
      {"getxattr", [](Meta& m, Place const& p) { ok(m.getxattr({}, p.file, "user.seen")); }, 1},
      {"flock",
       [](Meta& m, Place const& p) { ok(m.flock({}, p.file, 1, FlockOp::exclusive, false)); }, 2},
      {"statfs", [](Meta& m, Place const&) { ok(m.statfs({})); }, 1},
  };
}

Place make_place(Meta& meta, int number) {
  auto const made = [&](Ino parent, std::string_view name, FileType type) {
    auto const reply = meta.mknod(
        {}, {.parent = parent, .name = name, .type = type, .mode = 0755, .target = "target"});
    ok(reply);
    return reply.ok() ? reply->ino : Ino{};
  };
  Place p;
  p.top = made(kRootIno, "top" + std::to_string(number), FileType::directory);
  p.other = made(kRootIno, "other" + std::to_string(number), FileType::directory);
  p.file = made(p.top, "file", FileType::regular);
  p.dir = made(p.top, "dir", FileType::directory);
  p.link = made(p.top, "link", FileType::symlink);
  ok(meta.setxattr({}, p.file, "user.seen", "1", 0));
  return p;
}

// What the kernel asks before it calls.
void look_around(Meta& meta, Place const& p) {
  ok(meta.getattr({}, kRootIno));
  ok(meta.getattr({}, p.top));
  ok(meta.getattr({}, p.other));
  for (auto const* name : {"file", "dir", "link"}) {
    ok(meta.lookup({}, p.top, name));
  }
  EXPECT_FALSE(meta.lookup({}, p.top, "new").ok());
  EXPECT_FALSE(meta.lookup({}, p.other, "new").ok());
}

class Counter {
 public:
  explicit Counter(Volume& volume) : volume_(volume), maker_(volume, config()) {}

  Trips count(Operation const& operation) {
    return {.cold = least(operation, false), .warm = least(operation, true)};
  }
  // ⌈n / page⌉ and the same when it is repeated.
  Trips count_listing(bool attrs) {
    auto const p = make_place(maker_.meta, ++places_);
    for (int i = 0; i < kListed; ++i) {
      ok(maker_.meta.mknod({}, node({.top = p.dir}, std::to_string(i), FileType::regular)));
    }
    auto const list = [&] {
      auto least_count = UINT64_MAX;
      for (int run = 0; run < kRuns; ++run) {
        least_count = std::min(least_count, list_once(p.dir, attrs));
      }
      return least_count;
    };
    return {.cold = list(), .warm = list()};
  }

  // Where one makes a directory and fills it; cold: another client has made it.
  Trips count_new_file() {
    auto const p = make_place(maker_.meta, ++places_);
    auto const make_in = [&](Meta& meta) {
      auto least_count = UINT64_MAX;
      for (int run = 0; run < kRuns; ++run) {
        auto const name = "new" + std::to_string(++places_);
        auto const before = volume_.engine->trips();
        EXPECT_FALSE(meta.lookup({}, p.dir, name).ok());
        ok(meta.mknod({}, node({.top = p.dir}, name, FileType::regular)));
        least_count = std::min(least_count, volume_.engine->trips() - before);
      }
      return least_count;
    };
    auto const own = make_in(maker_.meta);
    Client other(volume_, config());
    return {.cold = make_in(other.meta), .warm = own};
  }

 private:
  static MetaConfig config() {
    MetaConfig config;
    config.background_jobs = false;
    return config;
  }

  std::uint64_t list_once(Ino dir, bool attrs) {
    std::size_t entries = 0;
    ListDir request{.dir = dir, .from = {}, .limit = kPage, .attrs = attrs};
    auto const before = volume_.engine->trips();
    do {
      auto page = maker_.meta.readdir({}, request);
      ok(page);
      if (!page.ok()) {
        return 0;
      }
      entries += page->entries.size();
      request.from = std::move(page->next);
    } while (!request.from.empty());
    EXPECT_EQ(entries, kListed);
    return volume_.engine->trips() - before;
  }

  std::uint64_t least(Operation const& operation, bool warm) {
    auto least_count = UINT64_MAX;
    for (int run = 0; run < kRuns; ++run) {
      auto const place = make_place(maker_.meta, ++places_);
      Client client(volume_, config());
      prepare(client.meta, warm, place);
      auto const before = volume_.engine->trips();
      operation.call(client.meta, place);
      least_count = std::min(least_count, volume_.engine->trips() - before);
    }
    return least_count;
  }

  // Batches of ids and the hourly trash are there, whatever else is known.
  void prepare(Meta& meta, bool warm, Place const& place) {
    auto const warm_up = make_place(meta, ++places_);
    ok(meta.unlink({}, warm_up.top, "file"));
    ok(meta.new_slice({}));
    if (warm) {
      look_around(meta, place);
    }
  }

  Volume& volume_;
  Client maker_;
  int places_ = 0;
};

Column measure(EngineCase const& engine) {
  Column column;
  zest::testing::run_on_loop([&] {
    auto fixture = engine.make();
    {
      Volume volume(fixture->connect(), make_setting(1));
      Counter counter(volume);
      for (auto const& operations : {names(), nodes()}) {
        for (auto const& operation : operations) {
          auto const trips = counter.count(operation);
          // A store that only knows values reads what it changes relatively.
          EXPECT_LE(trips.warm, operation.warm_max + engine.trips_max - 1)
              << engine.name << ": " << operation.name;
          column.emplace_back(operation.name, trips);
        }
      }
      column.emplace_back("lookup and create in a directory of one's own",
                          counter.count_new_file());
      for (bool const attrs : {false, true}) {
        auto const trips = counter.count_listing(attrs);
        column.emplace_back(attrs ? "list 2,500 entries with attributes, 1,000 a page"
                                  : "list 2,500 entries, 1,000 a page",
                            trips);
      }
    }
    fixture.reset();
  });
  return column;
}

TEST(RoundTrips, AreThoseOfTheTable) {
  Table found;
  for (auto const& engine : engine_cases()) {
    // The others are the same code under other names.
    if (engine.many_clients && !engine.name.ends_with("Prefixed") &&
        !engine.name.ends_with("Serializable") && engine.name != "MemoryKv" &&
        engine.name != "RedisSentinel" && engine.name != "RedisCluster") {
      found[engine.name] = measure(engine);
    }
  }
  if (std::getenv("ZEST_WRITE_ROUND_TRIPS") != nullptr) {
    std::ofstream(ZEST_ROUND_TRIPS_FILE) << to_markdown(found);
  }
  std::ifstream file(ZEST_ROUND_TRIPS_FILE);
  auto const written = from_markdown(std::string(std::istreambuf_iterator<char>(file), {}));
  for (auto const& [engine, column] : found) {
    auto const page = written.find(engine);
    ASSERT_NE(page, written.end()) << engine << " is not in docs/round-trips.md";
    EXPECT_EQ(to_markdown({{engine, column}}), to_markdown({{engine, page->second}}));
  }
}

}  // namespace
}  // namespace zest::meta::testing

// Commits whose reply is lost: every operation at every call to the engine, and with others in
// between. An operation that reported success has happened exactly once; one that reported failure
// has not happened, or says ETIMEDOUT and may have.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "zest/meta/meta_cases.h"

namespace zest::meta {
namespace {

using testing::Client;
using testing::make;
using testing::number;
using testing::Volume;
using zest::testing::run_simulated;

enum class Injected { lost_reply, lost_request, refused };

struct Faults {
  int calls = 0;
  int nth = 0;  ///< 0 = off
  Injected kind = Injected::lost_reply;
  bool hit = false;
  bool only_commits = false;  ///< other calls are not counted
  /// Runs once, after a commit whose reply is lost or instead of one that is: what others do
  /// meanwhile.
  std::function<void()> meanwhile;

  Result<void> before(std::string_view call) {
    if (nth == 0 || (only_commits && call != "commit") || ++calls != nth) {
      return {};
    }
    if (kind == Injected::lost_reply) {
      lose_next = call == "commit";
      hit = true;  // A fetch whose reply is lost is the same as one that failed.
      return lose_next ? Result<void>() : Error::transient(Errc::timedout, "injected");
    }
    hit = true;
    if (meanwhile) {
      nth = 0;
      meanwhile();
    }
    return Error::transient(kind == Injected::refused ? Errc::connrefused : Errc::timedout,
                            "injected");
  }
  Result<void> after() {
    if (!lose_next) {
      return {};
    }
    lose_next = false;
    if (meanwhile) {
      nth = 0;
      meanwhile();
    }
    return Error::transient(Errc::timedout, "injected");
  }
  bool lose_next = false;
};

std::unique_ptr<Engine> faulty(Faults& faults) {
  MemoryEngineOptions options;
  options.yield = false;
  options.parents_stored = true;
  options.before_call = [&faults](std::string_view call) { return faults.before(call); };
  options.after_commit = [&faults] { return faults.after(); };
  return make_memory_engine(std::move(options));
}

/// What every operation finds: directory d, file f with 9 bytes and a second name, file g, open
/// file h.
struct Scene {
  explicit Scene(Faults& faults) : volume(faulty(faults)), client(volume) {
    dir = *make(client, FileType::directory, kRootIno, "d");
    file = *make(client, FileType::regular, kRootIno, "f");
    other = *make(client, FileType::regular, kRootIno, "g");
    third = *make(client, FileType::regular, kRootIno, "h");
    EXPECT_TRUE(write(0).ok());
    EXPECT_TRUE(client.meta.link(root, file, kRootIno, "f2").ok());
    EXPECT_TRUE(client.meta.open(root, third, O_RDWR).ok());
  }
  Result<WriteSliceReply> write(std::uint32_t pos) {
    ZEST_TRY(auto const id, client.meta.new_slice(root));
    return client.meta.write_slice(
        root, {.ino = file,
               .index = {},
               .slices = {{.pos = pos, .id = id, .size = 9, .off = 0, .len = 9}},
               .mtime = volume.clock.wall()});
  }
  std::string names(Ino in) {
    std::string all;
    auto const page = volume.engine->list_dir(root, {.dir = in, .from = {}});
    for (auto const& entry : page->entries) {
      all += entry.name + "=" + std::to_string(entry.entry.ino.value) + " ";
    }
    return all;
  }
  std::size_t slices() { return client.meta.read_chunk(root, file, {})->size(); }

  Context root;
  Volume volume;
  Client client;
  Ino dir;
  Ino file;
  Ino other;
  Ino third;
};

struct Case {
  std::string name;
  std::function<int(Scene&)> run;
  /// Everything that the operation changes, as text.
  std::function<std::string(Scene&)> state;
};

std::string all_names(Scene& s) {
  return s.names(kRootIno) + "| " + s.names(s.dir);
}
std::string nodes(Scene& s) {
  std::string all = all_names(s);
  for (auto const ino : {kRootIno, s.dir, s.file}) {
    auto const node = s.client.meta.getattr(s.root, ino);
    all += node.ok() ? std::to_string(node->nlink) + "," + std::to_string(node->length) + "," +
                           std::to_string(node->mode) + " "
                     : "gone ";
  }
  return all + std::to_string(s.slices());
}

std::vector<Case> name_cases() {
  auto const rename = [](Scene& s, std::string_view to, std::uint32_t flags) {
    return number(s.client.meta.rename(
        s.root,
        {.parent = kRootIno, .name = "g", .new_parent = s.dir, .new_name = to, .flags = flags}));
  };
  return {
      {"mknod", [](Scene& s) { return number(make(s.client, FileType::regular, s.dir, "n")); },
       nodes},
      {"mkdir", [](Scene& s) { return number(make(s.client, FileType::directory, s.dir, "n")); },
       nodes},
      {"symlink", [](Scene& s) { return number(make(s.client, FileType::symlink, s.dir, "n")); },
       nodes},
      {"link", [](Scene& s) { return number(s.client.meta.link(s.root, s.file, s.dir, "n")); },
       nodes},
      {"unlink_one_of_two",
       [](Scene& s) { return number(s.client.meta.unlink(s.root, kRootIno, "f2")); }, nodes},
      {"unlink_last", [](Scene& s) { return number(s.client.meta.unlink(s.root, kRootIno, "g")); },
       nodes},
      {"unlink_open", [](Scene& s) { return number(s.client.meta.unlink(s.root, kRootIno, "h")); },
       nodes},
      {"rmdir", [](Scene& s) { return number(s.client.meta.rmdir(s.root, kRootIno, "d")); }, nodes},
      {"rename", [=](Scene& s) { return rename(s, "n", 0); }, nodes}};
}

std::vector<Case> node_cases() {
  using enum LockRange::Type;
  return {
      {"setattr",
       [](Scene& s) {
         return number(s.client.meta.setattr(s.root, {.ino = s.file, .mode = 0600}));
       },
       nodes},
      {"truncate",
       [](Scene& s) { return number(s.client.meta.truncate(s.root, s.file, 4, false)); }, nodes},
      {"fallocate",
       [](Scene& s) {
         return number(s.client.meta.fallocate(
             s.root, {.ino = s.file, .mode = kFallocZeroRange, .offset = 0, .length = 5000}));
       },
       nodes},
      {"write_slice", [](Scene& s) { return number(s.write(9)); }, nodes},
      {"copy_file_range",
       [](Scene& s) {
         return number(s.client.meta.copy_file_range(
             s.root,
             {.in = s.file, .offset_in = 0, .out = s.file, .offset_out = 100, .length = 9}));
       },
       nodes},
      {"setxattr",
       [](Scene& s) { return number(s.client.meta.setxattr(s.root, s.file, "user.a", "1", 1)); },
       [](Scene& s) { return s.client.meta.getxattr(s.root, s.file, "user.a").ok() ? "1" : "-"; }},
      {"flock",
       [](Scene& s) {
         return number(s.client.meta.flock(s.root, s.file, 1, FlockOp::exclusive, false));
       },
       [](Scene& s) {
         Client prober(s.volume);
         return std::to_string(
             number(prober.meta.flock(s.root, s.file, 1, FlockOp::shared, false)));
       }},
      {"setlk",
       [](Scene& s) {
         return number(s.client.meta.setlk(
             s.root, {.ino = s.file, .owner = 1, .range = {.type = write, .start = 0, .end = 9}}));
       },
       [](Scene& s) {
         Client prober(s.volume);
         return std::to_string(static_cast<int>(
             prober.meta
                 .getlk(s.root,
                        {.ino = s.file, .owner = 2, .range = {.type = write, .start = 0, .end = 9}})
                 ->type));
       }},
  };
}

std::vector<Case> cases() {
  auto all = name_cases();
  auto const more = node_cases();
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

class EveryCall : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Operations, EveryCall, ::testing::ValuesIn(cases()),
                         [](auto const& tested) { return tested.param.name; });

// Goal: fail the nth call of the operation, n = 1, 2, … until it gets by without meeting the fault.
// The state is the one before or the one after, never another, and success means after.
TEST_P(EveryCall, ItHappensOnceOrSaysSo) {
  auto const& [name, run, state] = GetParam();
  std::string before;
  std::string after;
  run_simulated([&] {
    Faults none;
    Scene scene(none);
    before = state(scene);
    ASSERT_EQ(run(scene), 0);
    after = state(scene);
  });
  ASSERT_NE(before, after);
  for (auto const kind : {Injected::lost_reply, Injected::lost_request, Injected::refused}) {
    bool hit = true;
    for (int n = 1; hit && n < 50; ++n) {
      run_simulated([&] {
        Faults faults;
        Scene scene(faults);
        faults.kind = kind;
        faults.nth = n;
        auto const result = run(scene);
        hit = faults.hit;
        faults.nth = 0;
        auto const now = state(scene);
        auto const what = name + ", call " + std::to_string(n);
        if (result == 0) {
          EXPECT_EQ(now, after) << what;
        } else {
          EXPECT_EQ(now, before) << what;
          EXPECT_TRUE(result == ETIMEDOUT || result == ECONNREFUSED) << what << ": " << result;
        }
      });
    }
    EXPECT_FALSE(hit);
  }
}

// Runs `operation` so that its first commit is done, its reply lost (or its request), and
// `meanwhile` done before the client finds out.
int with_meanwhile(Faults& faults, Scene& scene, std::function<void()> meanwhile,
                   std::function<int(Scene&)> const& operation,
                   Injected kind = Injected::lost_reply) {
  faults.kind = kind;
  faults.meanwhile = std::move(meanwhile);
  faults.only_commits = true;
  faults.calls = 0;
  faults.nth = 1;
  auto const result = operation(scene);
  EXPECT_EQ(faults.nth, 0) << "no commit was met";
  return result;
}

// Goal: a name that another client made again is not taken away a second time.
TEST(LostReply, AnUnlinkDoesNotTakeTheSuccessor) {
  run_simulated([] {
    Faults faults;
    Scene scene(faults);
    Client other(scene.volume);
    Ino successor;
    auto const result = with_meanwhile(
        faults, scene, [&] { successor = *make(other, FileType::regular, kRootIno, "g"); },
        [](Scene& s) { return number(s.client.meta.unlink(s.root, kRootIno, "g")); });
    EXPECT_TRUE(result == 0 || result == ETIMEDOUT) << result;
    EXPECT_EQ(other.meta.lookup(scene.root, kRootIno, "g")->ino, successor);
  });
}

// Goal: the same for a rename whose source came back.
TEST(LostReply, ARenameDoesNotMoveTheSuccessor) {
  run_simulated([] {
    Faults faults;
    Scene scene(faults);
    Client other(scene.volume);
    Ino successor;
    auto const result = with_meanwhile(
        faults, scene, [&] { successor = *make(other, FileType::regular, kRootIno, "g"); },
        [](Scene& s) {
          return number(s.client.meta.rename(
              s.root, {.parent = kRootIno, .name = "g", .new_parent = s.dir, .new_name = "n"}));
        });
    EXPECT_EQ(result, 0);
    EXPECT_EQ(other.meta.lookup(scene.root, kRootIno, "g")->ino, successor);
    EXPECT_EQ(other.meta.lookup(scene.root, scene.dir, "n")->ino, scene.other);
  });
}

// Goal: a create that others have changed already is still the own success.
TEST(LostReply, ACreateIsFoundWhateverOthersDidToIt) {
  run_simulated([] {
    Faults faults;
    Scene scene(faults);
    Client other(scene.volume);
    auto const result = with_meanwhile(
        faults, scene,
        [&] {
          EXPECT_TRUE(other.meta
                          .rename(scene.root, {.parent = scene.dir,
                                               .name = "n",
                                               .new_parent = kRootIno,
                                               .new_name = "moved"})
                          .ok());
        },
        [](Scene& s) { return number(make(s.client, FileType::regular, s.dir, "n")); });
    EXPECT_EQ(result, 0);
    EXPECT_EQ(number(other.meta.lookup(scene.root, scene.dir, "n")), ENOENT);
    EXPECT_TRUE(other.meta.lookup(scene.root, kRootIno, "moved").ok());
  });
}

// Goal: a change of mode that another client's has replaced is not made again.
TEST(LostReply, AReplacedModeIsNotSetAgain) {
  run_simulated([] {
    Faults faults;
    Scene scene(faults);
    Client other(scene.volume);
    auto const result = with_meanwhile(
        faults, scene,
        [&] {
          EXPECT_TRUE(other.meta.setattr(scene.root, {.ino = scene.file, .mode = 0444}).ok());
        },
        [](Scene& s) {
          return number(s.client.meta.setattr(s.root, {.ino = s.file, .mode = 0600}));
        });
    EXPECT_EQ(result, ETIMEDOUT) << "nobody can tell, and that is said";
    EXPECT_EQ(other.meta.getattr(scene.root, scene.file)->mode, 0444);
  });
}

// Goal: that a length is as wanted, as it was before, does not make a truncation pass that another
// client's change of mode forbids.
TEST(LostReply, AFieldThatWasSoBeforeProvesNothing) {
  run_simulated([] {
    Faults faults;
    Scene scene(faults);
    Client other(scene.volume);
    ASSERT_TRUE(scene.client.meta.setattr(scene.root, {.ino = scene.other, .mode = 0666}).ok());
    auto const result = with_meanwhile(
        faults, scene,
        [&] {
          EXPECT_TRUE(other.meta.setattr(scene.root, {.ino = scene.other, .mode = 0600}).ok());
        },
        [](Scene& s) {
          return number(s.client.meta.truncate(testing::as_user(5, 5), s.other, 0, false));
        },
        Injected::lost_request);
    EXPECT_EQ(result, EACCES);
  });
}

// Goal: written bytes are appended once, whatever others append meanwhile.
TEST(LostReply, ASliceIsCommittedOnce) {
  run_simulated([] {
    Faults faults;
    Scene scene(faults);
    Client other(scene.volume);
    auto const result = with_meanwhile(
        faults, scene,
        [&] {
          auto const id = *other.meta.new_slice(scene.root);
          EXPECT_TRUE(
              other.meta
                  .write_slice(scene.root, {.ino = scene.file,
                                            .index = {},
                                            .slices = {{.pos = 0, .id = id, .size = 9, .len = 9}},
                                            .mtime = scene.volume.clock.wall()})
                  .ok());
        },
        [](Scene& s) { return number(s.write(9)); });
    EXPECT_EQ(result, 0);
    EXPECT_EQ(scene.slices(), 3U);
  });
}

}  // namespace
}  // namespace zest::meta

// Directories whose names this client knows all: what it says of them is what the volume has.
#include "zest/meta/known_dirs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "zest/base/rng.h"
#include "zest/meta/record_hints.h"

namespace zest::meta {
namespace {

constexpr Ino kDir{5};
constexpr Ino kFile{6};
SystemClock const kClock;

Attr attr_of(FileType type) {
  return {.type = type, .mode = 0755, .nlink = 1};
}
Entry file(Ino ino) {
  return {.type = FileType::regular, .ino = ino};
}
Commit creation(Ino dir, std::string const& name, Ino ino, FileType type = FileType::regular) {
  return {.changes = {Put{NodeKey{ino}, attr_of(type)},
                      Put{EdgeKey{dir, name}, Entry{.type = type, .ino = ino}},
                      UpdateNode{.ino = dir, .values = {}}}};
}
Commit removal(Ino dir, std::string const& name, Ino ino) {
  return {.changes = {Erase{EdgeKey{dir, name}}, Erase{NodeKey{ino}},
                      UpdateNode{.ino = dir, .values = {}}}};
}
Commit renaming(Ino dir, std::string const& from, std::string const& to, Ino ino) {
  return {.changes = {Erase{EdgeKey{dir, from}}, Put{EdgeKey{dir, to}, file(ino)},
                      UpdateNode{.ino = ino, .values = {}}}};
}

/// A server's pushes of what was committed in one turn.
struct Turn {
  std::vector<Ino> dirs;
  std::vector<Ino> nodes;

  void add(Commit const& commit) {
    for (auto const& change : commit.changes) {
      if (auto const* put = std::get_if<Put>(&change)) {
        add(put->key);
      } else if (auto const* erase = std::get_if<Erase>(&change)) {
        add(erase->key);
      } else if (auto const* update = std::get_if<UpdateNode>(&change)) {
        add(NodeKey{update->ino});
      }
    }
  }
  void add(Key const& key) {
    if (auto const* edge = std::get_if<EdgeKey>(&key)) {
      dirs.push_back(edge->parent);
    } else if (auto const* node = std::get_if<NodeKey>(&key)) {
      nodes.push_back(node->ino);
    }
  }
  void push_to(RecordHints& hints) const {
    if (!dirs.empty()) {
      hints.entries_changed(dirs);
    }
    if (!nodes.empty()) {
      hints.nodes_changed(nodes);
    }
  }
};

struct Client {
  Client() { hints.expect_pushes(); }
  /// One commit, its reply and its push.
  void commit(Commit const& commit) {
    Turn turn;
    turn.add(commit);
    auto const sent = hints.sending(commit);
    hints.committed(commit, sent);
    turn.push_to(hints);
  }
  std::optional<Value> look_up(std::string const& name) {
    return hints.find(EdgeKey{kDir, name}, HintUse::current);
  }
  RecordHints hints{kClock};
};

TEST(KnownDirs, ADirectoryThatThisClientMadeHasTheNamesThatItKnows) {
  Client client;
  EXPECT_EQ(client.look_up("a"), std::nullopt);
  client.commit(creation(kRootIno, "dir", kDir, FileType::directory));
  EXPECT_EQ(client.look_up("a"), Value());
  client.commit(creation(kDir, "a", kFile));
  EXPECT_EQ(client.look_up("a"), Value(file(kFile)));
  EXPECT_EQ(client.look_up("b"), Value());
  client.commit(renaming(kDir, "a", "b", kFile));
  EXPECT_EQ(client.look_up("a"), Value());
  EXPECT_EQ(client.look_up("b"), Value(file(kFile)));
  client.commit(removal(kDir, "b", kFile));
  EXPECT_EQ(client.look_up("b"), Value());
  EXPECT_EQ(client.hints.find(EdgeKey{kRootIno, "x"}, HintUse::current), std::nullopt)
      << "another client made the root";
}

TEST(KnownDirs, WhatAnotherClientChangesEndsIt) {
  Client client;
  client.commit(creation(kRootIno, "dir", kDir, FileType::directory));
  Turn other;
  other.add(creation(kDir, "theirs", Ino{99}));
  other.push_to(client.hints);
  EXPECT_EQ(client.look_up("theirs"), std::nullopt);
  client.commit(creation(kDir, "mine", kFile));
  EXPECT_EQ(client.look_up("theirs"), std::nullopt) << "for good";
}

// In one turn of the server's loop both clients changed the directory: one push for both.
TEST(KnownDirs, AnotherClientsChangeDoesNotHideBehindAnOwnOne) {
  Client client;
  client.commit(creation(kRootIno, "dir", kDir, FileType::directory));
  auto const own = creation(kDir, "mine", kFile);
  Turn turn;
  turn.add(own);
  turn.add(renaming(kDir, "theirs", "theirs too", Ino{99}));
  auto const sent = client.hints.sending(own);
  client.hints.committed(own, sent);
  turn.push_to(client.hints);
  EXPECT_EQ(client.look_up("theirs too"), std::nullopt);
}

// The push of the directories came, that of the nodes not yet.
TEST(KnownDirs, BetweenTheTwoPushesNothingIsSaid) {
  Client client;
  client.commit(creation(kRootIno, "dir", kDir, FileType::directory));
  auto const own = creation(kDir, "mine", kFile);
  auto const sent = client.hints.sending(own);
  client.hints.entries_changed(std::array{kDir});
  EXPECT_EQ(client.look_up("other"), std::nullopt);
  // A reading that began before the commit and ends after it is no news.
  auto const reading = client.hints.now();
  client.hints.committed(own, sent);
  client.hints.remember(EdgeKey{kDir, "mine"}, Value(), reading);
  client.hints.nodes_changed(std::array{kDir, kFile});
  EXPECT_EQ(client.look_up("other"), Value());
  EXPECT_EQ(client.look_up("mine"), Value(file(kFile)));
}

TEST(KnownDirs, ACommitOfUnknownOutcomeEndsIt) {
  Client client;
  client.commit(creation(kRootIno, "dir", kDir, FileType::directory));
  auto const own = creation(kDir, "mine", kFile);
  client.hints.failed(own, client.hints.sending(own));
  EXPECT_EQ(client.look_up("mine"), std::nullopt);
}

TEST(KnownDirs, ALostConnectionEndsIt) {
  Client client;
  client.commit(creation(kRootIno, "dir", kDir, FileType::directory));
  client.hints.everything_changed();
  EXPECT_EQ(client.look_up("a"), std::nullopt);
}

TEST(KnownDirs, WithoutPushesNothingIsKnown) {
  RecordHints hints(kClock);
  auto const made = creation(kRootIno, "dir", kDir, FileType::directory);
  hints.committed(made, hints.sending(made));
  EXPECT_EQ(hints.find(EdgeKey{kDir, "a"}, HintUse::current), std::nullopt);
}

// Somebody may have put a file into it before this client was told that it exists.
TEST(KnownDirs, ADirectoryThatOthersFoundFirstIsNotKnown) {
  Client client;
  auto const made = creation(kRootIno, "dir", kDir, FileType::directory);
  auto const sent = client.hints.sending(made);
  Turn turn;
  turn.add(made);
  turn.push_to(client.hints);
  Turn other;
  other.add(creation(kDir, "theirs", Ino{99}));
  other.push_to(client.hints);
  client.hints.committed(made, sent);
  EXPECT_EQ(client.look_up("theirs"), std::nullopt);
}

// A name that is there was forgotten for lack of room: so the rest isn't all there is.
TEST(KnownDirs, ADirectoryLargerThanTheMemoryIsNotKnown) {
  RecordHints hints(kClock, {.nodes = 10, .names = 10});
  hints.expect_pushes();
  auto const commit = [&](Commit const& c) {
    auto const sent = hints.sending(c);
    hints.committed(c, sent);
    Turn turn;
    turn.add(c);
    turn.push_to(hints);
  };
  commit(creation(kRootIno, "dir", kDir, FileType::directory));
  for (std::uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(hints.find(EdgeKey{kDir, "other"}, HintUse::current).has_value(), i <= 10) << i;
    commit(creation(kDir, std::to_string(i), Ino{100 + i}));
  }
}

/// Two clients at work in the same directories; turns of the server's loop with changes of both.
/// One of them remembers. Whatever it says about a name must be so.
class Race {
 public:
  explicit Race(std::uint64_t seed) : rng_(seed) { client_.hints.expect_pushes(); }

  void run() {
    for (auto const dir : kDirs) {
      make_dir(dir);
    }
    for (int turns = 0; turns < 400; ++turns) {
      turn();
      check();
    }
  }
  [[nodiscard]] std::size_t answers() const noexcept { return answers_; }

 private:
  static constexpr std::array kDirs{Ino{11}, Ino{12}, Ino{13}};
  using Names = std::map<std::string, Ino>;

  void make_dir(Ino dir) {
    truth_[dir].clear();
    client_.commit(creation(kRootIno, "d" + std::to_string(dir.value), dir, FileType::directory));
  }

  Commit change(std::set<Ino>& touched) {
    auto const dir = kDirs[rng_.below(kDirs.size())];
    auto& names = truth_[dir];
    auto const name = std::to_string(rng_.below(8));
    auto const found = names.find(name);
    if (found == names.end()) {
      Ino const ino{next_++};
      names[name] = ino;
      touched.insert(ino);
      return creation(dir, name, ino);
    }
    auto const ino = found->second;
    // Nobody can have decided on what another one did in the same turn.
    if (!touched.insert(ino).second) {
      return {};
    }
    auto const free = std::to_string(8 + rng_.below(8));
    if (rng_.below(2) == 0 && !names.contains(free)) {
      names.erase(found);
      names[free] = ino;
      return renaming(dir, name, free, ino);
    }
    names.erase(found);
    return removal(dir, name, ino);
  }

  void turn() {
    Turn turn;
    std::set<Ino> touched;
    std::vector<std::pair<Commit, Moment>> own;
    for (auto left = 1 + rng_.below(3); left > 0; --left) {
      auto commit = change(touched);
      turn.add(commit);
      if (rng_.below(24) != 0) {  // else the other client's
        auto const sent = client_.hints.sending(commit);
        own.emplace_back(std::move(commit), sent);
      }
    }
    auto const push_first = rng_.below(2) == 0;
    if (push_first) {
      turn.push_to(client_.hints);
    }
    for (auto const& [commit, sent] : own) {
      client_.hints.committed(commit, sent);
    }
    if (!push_first) {
      turn.push_to(client_.hints);
    }
  }

  void check() {
    for (auto const dir : kDirs) {
      for (int i = 0; i < 16; ++i) {
        auto const name = std::to_string(i);
        auto const said = client_.hints.find(EdgeKey{dir, name}, HintUse::current);
        if (!said.has_value()) {
          continue;
        }
        ++answers_;
        auto const found = truth_[dir].find(name);
        ASSERT_EQ(*said, found == truth_[dir].end() ? Value() : Value(file(found->second)))
            << name << " in " << dir.value;
      }
    }
  }

  Rng rng_;
  Client client_;
  std::map<Ino, Names> truth_;
  std::uint64_t next_ = 1000;
  std::size_t answers_ = 0;
};

TEST(KnownDirs, WhatIsSaidIsSo) {
  std::size_t answers = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Race race(seed);
    race.run();
    answers += race.answers();
    if (HasFatalFailure()) {
      return;
    }
  }
  EXPECT_GT(answers, 10'000U) << "a test that hears nothing proves nothing";
}

}  // namespace
}  // namespace zest::meta

// Directories all of whose names this client knows, because it made them and nobody else has
// changed them since.
//
// The engine pushes each change, this client's own ones too, and does not say whose it was. A
// commit's changes are pushed together: so a push that contains everything which an own commit
// changed is that commit's, and what is left over in it was somebody else. Every change of a name
// also changes a node (the one that got, lost or moved under the name), which an own commit of the
// same moment would have had to change as well to hide it. A push that no commit explains, or a
// commit of unknown outcome, and the directory is like any other again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "zest/meta/engine.h"
#include "zest/meta/lru.h"

namespace zest::meta {

/// Not thread-safe. About 150 bytes a directory.
class KnownDirs {
 public:
  static constexpr std::size_t kDirsMax = 8192;
  /// Commits whose push has not come yet; more are forgotten, and their pushes are a stranger's.
  static constexpr std::size_t kCommitsMax = 4096;

  /// True: the names that this client knows are all there are.
  [[nodiscard]] bool whole(Ino dir);
  /// The same, or it may be found to be so again: what was read meanwhile is no news.
  [[nodiscard]] bool contains(Ino dir) { return dirs_.find(dir) != nullptr; }
  /// This client has made the directory.
  void made(Ino dir) { dirs_.add(dir, {}, kDirsMax); }
  void forget(Ino dir) { dirs_.erase(dir); }
  void forget_all() noexcept;

  /// A commit is sent; `id` is its own.
  void sent(std::uint64_t id, Commit const& commit);
  /// It failed, or nobody knows.
  void failed(std::uint64_t id, Commit const& commit);

  /// Pushes; those of one moment come in this order.
  void entries_changed(std::span<Ino const> dirs);
  void nodes_changed(std::span<Ino const> nodes);

 private:
  /// What the push of a commit contains.
  struct Sent {
    std::uint64_t id = 0;
    std::vector<Ino> dirs;
    std::vector<Ino> nodes;
  };
  struct State {
    bool suspect = false;  ///< changed; whose doing it was is told by the push of the nodes
  };
  static Sent pushed_by(std::uint64_t id, Commit const& commit);
  void forget_suspects();

  Lru<Ino, State, std::hash<Ino>> dirs_;
  std::multimap<Ino, Sent> commits_;  ///< by the first of their nodes
  std::set<Ino> changed_;             ///< the directories of the last push
};

}  // namespace zest::meta

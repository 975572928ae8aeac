#include "zest/meta/known_dirs.h"

#include <algorithm>
#include <variant>

namespace zest::meta {

bool KnownDirs::whole(Ino dir) {
  auto const* state = dirs_.find(dir);
  return state != nullptr && !state->suspect;
}

void KnownDirs::forget_all() noexcept {
  dirs_.clear();
  commits_.clear();
  changed_.clear();
}

// ---- own commits

KnownDirs::Sent KnownDirs::pushed_by(std::uint64_t id, Commit const& commit) {
  Sent sent{.id = id, .dirs = {}, .nodes = {}};
  auto const add = [&sent](Key const& key) {
    if (auto const* node = std::get_if<NodeKey>(&key)) {
      sent.nodes.push_back(node->ino);
    } else if (auto const* edge = std::get_if<EdgeKey>(&key)) {
      sent.dirs.push_back(edge->parent);
    }
  };
  for (auto const& change : commit.changes) {
    if (auto const* put = std::get_if<Put>(&change)) {
      add(put->key);
    } else if (auto const* erase = std::get_if<Erase>(&change)) {
      add(erase->key);
    } else if (auto const* update = std::get_if<UpdateNode>(&change)) {
      sent.nodes.push_back(update->ino);
    }
  }
  return sent;
}

void KnownDirs::sent(std::uint64_t id, Commit const& commit) {
  auto sent = pushed_by(id, commit);
  if (sent.nodes.empty()) {
    return;
  }
  if (commits_.size() >= kCommitsMax) {
    commits_.erase(commits_.begin());
  }
  auto const first = sent.nodes.front();
  commits_.emplace(first, std::move(sent));
}

void KnownDirs::failed(std::uint64_t id, Commit const& commit) {
  auto const failed = pushed_by(id, commit);
  if (!failed.nodes.empty()) {
    auto const [begin, end] = commits_.equal_range(failed.nodes.front());
    auto const found = std::find_if(begin, end, [&](auto const& c) { return c.second.id == id; });
    if (found != end) {
      commits_.erase(found);
    }
  }
  for (auto const dir : failed.dirs) {
    forget(dir);
  }
}

// ---- pushes

void KnownDirs::forget_suspects() {
  for (auto const dir : changed_) {
    if (auto const* state = dirs_.find(dir); state != nullptr && state->suspect) {
      dirs_.erase(dir);
    }
  }
  changed_.clear();
}

void KnownDirs::entries_changed(std::span<Ino const> dirs) {
  forget_suspects();
  for (auto const dir : dirs) {
    changed_.insert(dir);
    if (auto* state = dirs_.find(dir)) {
      state->suspect = true;
    }
  }
}

void KnownDirs::nodes_changed(std::span<Ino const> nodes) {
  std::set<Ino> const pushed(nodes.begin(), nodes.end());
  auto unexplained = pushed;
  auto const among = [](std::set<Ino> const& set) {
    return [&set](Ino ino) { return set.contains(ino); };
  };
  std::vector<Ino> explained;
  for (auto const node : pushed) {
    auto [commit, end] = commits_.equal_range(node);
    while (commit != end) {
      auto const& sent = commit->second;
      if (!std::ranges::all_of(sent.dirs, among(changed_)) ||
          !std::ranges::all_of(sent.nodes, among(pushed))) {
        ++commit;
        continue;
      }
      explained.insert(explained.end(), sent.dirs.begin(), sent.dirs.end());
      std::ranges::for_each(sent.nodes, [&](Ino ino) { unexplained.erase(ino); });
      commit = commits_.erase(commit);
    }
  }
  if (unexplained.empty()) {
    for (auto const dir : explained) {
      if (auto* state = dirs_.find(dir)) {
        state->suspect = false;
      }
    }
  }
  forget_suspects();
}

}  // namespace zest::meta

// The evidence, strongest first (docs/decisions/0003-lost-replies.md):
//
//   what only this commit can have written   a new inode or slice number, a lock or sustained inode
//                                            of this session
//   a time stamp that did not move           every change raises the node's ctime to another
//                                            value: as read before means not happened
//   names                                    as before means not happened
//   fields of a node                         as wanted, not as before, and ctime moved: happened
#include "zest/meta/outcome.h"

#include <algorithm>
#include <map>
#include <optional>
#include <type_traits>
#include <variant>
#include <vector>

#include "zest/meta/engine/node_fields.h"

namespace zest::meta {
namespace {

bool is_absent(Value const& value) {
  return std::holds_alternative<std::monostate>(value);
}

/// Records that nobody but this client writes while its session lives.
bool is_own(Key const& key) {
  return std::holds_alternative<FlockKey>(key) || std::holds_alternative<PlockKey>(key) ||
         std::holds_alternative<SessionKey>(key) || std::holds_alternative<SustainedKey>(key);
}

/// Records whose absence after an Erase says that somebody erased them; who did makes no
/// difference.
bool is_erased_once(Key const& key) {
  return std::holds_alternative<ChunkKey>(key) || std::holds_alternative<DelfileKey>(key) ||
         std::holds_alternative<XattrKey>(key) || std::holds_alternative<NodeKey>(key) ||
         std::holds_alternative<DetachedKey>(key);
}

bool has_slice(Value const& value, SliceRecord const& wanted) {
  auto const* slices = std::get_if<Slices>(&value);
  return slices != nullptr && std::ranges::find(*slices, wanted) != slices->end();
}

class Judge {
 public:
  explicit Judge(Commit const& commit) : commit_(commit) {
    for (auto const& condition : commit.conditions) {
      if (auto const* node = std::get_if<ExpectNode>(&condition)) {
        seen_.emplace(node->ino, &node->seen);
      } else if (auto const* equal = std::get_if<ExpectEqual>(&condition)) {
        before_.emplace(equal->key, equal->value);
      } else if (auto const* absent = std::get_if<ExpectAbsent>(&condition)) {
        before_.emplace(absent->key, Value());
      }
    }
    for (auto const& change : commit.changes) {
      ask_about(change);
    }
    std::ranges::sort(keys_);
    auto const twice = std::ranges::unique(keys_);
    keys_.erase(twice.begin(), twice.end());
  }

  [[nodiscard]] std::vector<Key> const& keys() const noexcept { return keys_; }

  Outcome judge(std::vector<Value> values) {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      now_.emplace(keys_[i], std::move(values[i]));
    }
    using Step = std::optional<Outcome> (Judge::*)() const;
    for (Step const step : {&Judge::by_unique_records, &Judge::by_stamps, &Judge::by_names,
                            &Judge::by_fields, &Judge::by_other_records}) {
      if (auto const outcome = (this->*step)()) {
        return *outcome;
      }
    }
    // Nothing that could tell: such commits only set or remove what may be set or removed again.
    return Outcome::not_happened;
  }

 private:
  void ask(Key const& key) {
    if (is_own(key) || is_erased_once(key) || std::holds_alternative<EdgeKey>(key)) {
      keys_.push_back(key);
    }
  }
  void ask_about(Change const& change) {
    std::visit(Overloaded{[&](Put const& put) {
                            ask(put.key);
                            auto const* node = std::get_if<Attr>(&put.value);
                            if (node != nullptr && node->type == FileType::regular) {
                              ask(DelfileKey{std::get<NodeKey>(put.key).ino, node->length});
                            }
                          },
                          [&](Erase const& erase) { ask(erase.key); },
                          [&](AppendSlices const& append) { ask(append.key); },
                          [&](ReplaceChunkPrefix const& replace) { ask(replace.key); },
                          [&](UpdateNode const& update) { ask(NodeKey{update.ino}); },
                          [&](NewSlice const& slice) { fresh_slices_.push_back(slice.id); },
                          [](auto const& /*counters and sets*/) {}},
               change);
  }

  [[nodiscard]] Value const& now(Key const& key) const { return now_.at(key); }
  [[nodiscard]] Attr const* node_now(Ino ino) const {
    return std::get_if<Attr>(&now(NodeKey{ino}));
  }

  template <class C, class Fn>
  std::optional<Outcome> first_of(Fn&& fn) const {
    for (auto const& change : commit_.changes) {
      if (auto const* wanted = std::get_if<C>(&change)) {
        if (std::optional<Outcome> outcome = fn(*wanted)) {
          return outcome;
        }
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] std::optional<Outcome> slices_tell(ChunkKey const& key,
                                                   Slices const& slices) const {
    for (auto const& slice : slices) {
      if (std::ranges::find(fresh_slices_, slice.id) != fresh_slices_.end()) {
        return has_slice(now(key), slice) ? Outcome::happened : Outcome::not_happened;
      }
    }
    return std::nullopt;
  }

  /// A new node that isn't there: it was never made, or another client has removed it already. A
  /// file leaves its record among the deleted ones; of others only the directory's time stamp
  /// tells.
  [[nodiscard]] Outcome by_absence(Put const& wanted) const {
    auto const& node = std::get<Attr>(wanted.value);
    if (node.type == FileType::regular) {
      auto const& deleted = now(DelfileKey{std::get<NodeKey>(wanted.key).ino, node.length});
      return is_absent(deleted) ? Outcome::not_happened : Outcome::happened;
    }
    auto const stamped = std::ranges::any_of(commit_.changes, [&](Change const& change) {
      auto const* update = std::get_if<UpdateNode>(&change);
      return update != nullptr && update->raise_ctime && seen_.contains(update->ino);
    });
    return stamped ? by_stamps().value_or(Outcome::unknown) : Outcome::not_happened;
  }

  [[nodiscard]] std::optional<Outcome> by_unique_records() const {
    auto const put = first_of<Put>([&](Put const& wanted) -> std::optional<Outcome> {
      if (std::holds_alternative<NodeKey>(wanted.key)) {
        return is_absent(now(wanted.key)) ? by_absence(wanted) : Outcome::happened;
      }
      if (is_own(wanted.key)) {
        return now(wanted.key) == wanted.value ? Outcome::happened : Outcome::not_happened;
      }
      return std::nullopt;
    });
    if (put) {
      return put;
    }
    auto const append = first_of<AppendSlices>(
        [&](AppendSlices const& wanted) { return slices_tell(wanted.key, wanted.slices); });
    if (append) {
      return append;
    }
    return first_of<ReplaceChunkPrefix>(
        [&](ReplaceChunkPrefix const& wanted) { return slices_tell(wanted.key, wanted.slices); });
  }

  [[nodiscard]] std::optional<Outcome> by_stamps() const {
    return first_of<UpdateNode>([&](UpdateNode const& update) -> std::optional<Outcome> {
      auto const seen = seen_.find(update.ino);
      auto const* node = node_now(update.ino);
      if (!update.raise_ctime || seen == seen_.end() || node == nullptr) {
        return std::nullopt;
      }
      if (node->ctime == seen->second->ctime) {
        return Outcome::not_happened;
      }
      return std::nullopt;
    });
  }

  /// True when the commit gives the inode that `value` names a time stamp, and knew the old one.
  [[nodiscard]] bool stamps(Value const& value) const {
    auto const* entry = std::get_if<Entry>(&value);
    return entry != nullptr && seen_.contains(entry->ino) &&
           std::ranges::any_of(commit_.changes, [&](Change const& change) {
             auto const* update = std::get_if<UpdateNode>(&change);
             return update != nullptr && update->ino == entry->ino && update->raise_ctime;
           });
  }

  /// A name that is as it was before tells, unless its inode has another time stamp than before:
  /// then somebody may have linked or moved it there again. One that is as wanted tells nothing:
  /// another client may have unlinked the same file, linked it there, or moved it to the trash,
  /// under the same name.
  [[nodiscard]] std::optional<Outcome> by_names() const {
    bool any = false;
    bool before = false;
    auto const look = [&](Key const& key, Value const& wanted) {
      if (!std::holds_alternative<EdgeKey>(key)) {
        return;
      }
      any = true;
      auto const known = before_.find(key);
      before = before || (known != before_.end() && now(key) == known->second &&
                          !(stamps(wanted) || stamps(known->second)));
    };
    for (auto const& change : commit_.changes) {
      if (auto const* put = std::get_if<Put>(&change)) {
        look(put->key, put->value);
      } else if (auto const* erase = std::get_if<Erase>(&change)) {
        look(erase->key, Value());
      }
    }
    if (!any) {
      return std::nullopt;
    }
    if (any_stamp_is_ours()) {
      return Outcome::happened;
    }
    return before ? Outcome::not_happened : Outcome::unknown;
  }

  /// Times are the same for nobody else: a client gives each of its attempts its own, and another
  /// client would have to meet the nanosecond.
  [[nodiscard]] bool any_stamp_is_ours() const {
    return std::ranges::any_of(commit_.changes, [&](Change const& change) {
      auto const* update = std::get_if<UpdateNode>(&change);
      return update != nullptr && stamp_is_ours(*update);
    });
  }
  [[nodiscard]] bool stamp_is_ours(UpdateNode const& update) const {
    auto const seen = seen_.find(update.ino);
    auto const* node = node_now(update.ino);
    // Where the node was ahead of our clock, others would make the same of it.
    return update.raise_ctime && seen != seen_.end() && node != nullptr &&
           seen->second->ctime < *update.raise_ctime && node->ctime == *update.raise_ctime;
  }

  [[nodiscard]] std::optional<Outcome> by_fields() const {
    return first_of<UpdateNode>([&](UpdateNode const& update) -> std::optional<Outcome> {
      auto const* node = node_now(update.ino);
      if (node == nullptr) {
        return Outcome::not_happened;  // Trying again finds that it is gone.
      }
      auto const same = same_fields(*node, update.values, update.set) &&
                        (!update.grow_length || node->length >= *update.grow_length);
      if (!update.raise_ctime) {
        return same ? Outcome::happened : Outcome::not_happened;
      }
      if (same && (stamp_is_ours(update) || (update.set != 0 && !was_so(update)))) {
        return Outcome::happened;
      }
      // As before and as wanted: doing it again changes times, and asks once more who may do it.
      if (same && update.set != 0 && sets_nodes_only()) {
        return Outcome::not_happened;
      }
      return xattr_tells().value_or(Outcome::unknown);
    });
  }
  [[nodiscard]] bool was_so(UpdateNode const& update) const {
    auto const seen = seen_.find(update.ino);
    return seen != seen_.end() && same_fields(*seen->second, update.values, update.set);
  }
  [[nodiscard]] bool sets_nodes_only() const {
    return std::ranges::all_of(commit_.changes, [](Change const& change) {
      return std::holds_alternative<UpdateNode>(change);
    });
  }

  /// setxattr and removexattr: the node's ctime moved, so what the attribute is now decides.
  [[nodiscard]] std::optional<Outcome> xattr_tells() const {
    auto const put = first_of<Put>([&](Put const& wanted) -> std::optional<Outcome> {
      if (!std::holds_alternative<XattrKey>(wanted.key)) {
        return std::nullopt;
      }
      return now(wanted.key) == wanted.value ? Outcome::happened : Outcome::unknown;
    });
    if (put) {
      return put;
    }
    return first_of<Erase>([&](Erase const& wanted) -> std::optional<Outcome> {
      if (!std::holds_alternative<XattrKey>(wanted.key)) {
        return std::nullopt;
      }
      return is_absent(now(wanted.key)) ? Outcome::happened : Outcome::unknown;
    });
  }

  [[nodiscard]] std::optional<Outcome> by_other_records() const {
    return first_of<Erase>([&](Erase const& wanted) -> std::optional<Outcome> {
      if (!is_own(wanted.key) && !is_erased_once(wanted.key)) {
        return std::nullopt;
      }
      return is_absent(now(wanted.key)) ? Outcome::happened : Outcome::not_happened;
    });
  }

  Commit const& commit_;
  std::map<Ino, Attr const*> seen_;
  std::map<Key, Value> before_;
  std::vector<SliceId> fresh_slices_;
  std::vector<Key> keys_;
  std::map<Key, Value> now_;
};

}  // namespace

Result<Outcome> outcome_of(Engine& engine, Context const& ctx, Commit const& commit) {
  Judge judge(commit);
  if (judge.keys().empty()) {
    return Outcome::not_happened;
  }
  ZEST_TRY(auto values, engine.fetch(ctx, judge.keys()));
  return judge.judge(std::move(values));
}

}  // namespace zest::meta

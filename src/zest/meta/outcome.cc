#include "zest/meta/outcome.h"

#include <algorithm>
#include <functional>
#include <type_traits>
#include <variant>
#include <vector>

#include "zest/meta/engine/node_fields.h"

namespace zest::meta {
namespace {

using Check = std::function<bool(Value const&)>;

// Records that others change as soon as they are there, or that cannot be read back as they were
// written: only what says "this commit was it" is looked at.
bool tells(Key const& key) {
  return std::holds_alternative<EdgeKey>(key) || std::holds_alternative<NodeKey>(key) ||
         std::holds_alternative<XattrKey>(key) || std::holds_alternative<FlockKey>(key) ||
         std::holds_alternative<PlockKey>(key) || std::holds_alternative<SessionKey>(key) ||
         std::holds_alternative<SustainedKey>(key) || std::holds_alternative<DelfileKey>(key);
}

bool is_absent(Value const& value) {
  return std::holds_alternative<std::monostate>(value);
}

bool contains_all(Value const& value, Slices const& wanted) {
  auto const* slices = std::get_if<Slices>(&value);
  return std::ranges::all_of(wanted, [&](SliceRecord const& slice) {
    return slice.id.value == 0 ||
           (slices != nullptr && std::ranges::find(*slices, slice) != slices->end());
  });
}

bool shows_update(Value const& value, UpdateNode const& update) {
  auto const* node = std::get_if<Attr>(&value);
  return node != nullptr && same_fields(*node, update.values, update.set) &&
         (!update.grow_length || node->length >= *update.grow_length) &&
         (!update.raise_ctime || node->ctime >= *update.raise_ctime);
}

/// The node as the body saw it before the commit.
Attr const* seen_node(Commit const& commit, Ino ino) {
  for (auto const& condition : commit.conditions) {
    auto const* node = std::get_if<ExpectNode>(&condition);
    if (node != nullptr && node->ino == ino) {
      return &node->seen;
    }
  }
  return nullptr;
}

bool made_here(Commit const& commit, Slices const& slices) {
  return std::ranges::any_of(commit.changes, [&](Change const& change) {
    auto const* made = std::get_if<NewSlice>(&change);
    return made != nullptr && std::ranges::any_of(slices, [&](SliceRecord const& slice) {
             return slice.id == made->id;
           });
  });
}

/// A second time changes nothing but a time stamp.
bool repeatable(Commit const& commit) {
  return commit.usage.space == 0 && commit.usage.inodes == 0 &&
         std::ranges::all_of(commit.changes, [](Change const& change) {
           auto const* update = std::get_if<UpdateNode>(&change);
           auto const* put = std::get_if<Put>(&change);
           auto const* erase = std::get_if<Erase>(&change);
           return (update != nullptr && update->add_nlink == 0) ||
                  (put != nullptr && std::holds_alternative<XattrKey>(put->key)) ||
                  (erase != nullptr && std::holds_alternative<XattrKey>(erase->key));
         });
}

/// The records to read, and what each of them says.
class Questions {
 public:
  explicit Questions(Commit const& commit) : commit_(commit) {
    for (auto const& change : commit.changes) {
      std::visit([this](auto const& kind) { about(kind); }, change);
    }
  }
  [[nodiscard]] std::vector<Key> const& keys() const noexcept { return keys_; }

  Fate answer(std::vector<Value> const& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      checks_[i](values[i]);
    }
    if (made_) {
      return Fate::happened;
    }
    if (stamped_) {
      return as_before_ ? Fate::not_happened : Fate::happened;
    }
    if (as_before_) {
      return Fate::not_happened;
    }
    if (!moved_on_ || repeatable(commit_)) {
      return all_there_ ? Fate::happened : Fate::not_happened;
    }
    return Fate::unknown;
  }

 private:
  void ask(Key key, std::function<void(Value const&)> check) {
    keys_.push_back(std::move(key));
    checks_.push_back(std::move(check));
  }
  void ask_whether(Key key, Check there) {
    ask(std::move(key), [this, there = std::move(there)](Value const& value) {
      all_there_ = all_there_ && there(value);
    });
  }
  void about(Put const& put) {
    if (std::holds_alternative<NodeKey>(put.key)) {
      ask(put.key, [this](Value const& value) {
        made_ = made_ || !is_absent(value);
        all_there_ = all_there_ && !is_absent(value);
      });
    } else if (tells(put.key)) {
      ask_whether(put.key, [wanted = put.value](Value const& value) { return value == wanted; });
    }
  }
  void about(Erase const& erase) {
    if (tells(erase.key) || std::holds_alternative<ChunkKey>(erase.key)) {
      ask_whether(erase.key, is_absent);
    }
  }
  void about(UpdateNode const& update) {
    auto const* seen = update.raise_ctime ? seen_node(commit_, update.ino) : nullptr;
    ask(NodeKey{update.ino}, [this, update, seen](Value const& value) {
      all_there_ = all_there_ && shows_update(value, update);
      if (seen == nullptr) {
        return;
      }
      auto const* node = std::get_if<Attr>(&value);
      if (node != nullptr && node->ctime == seen->ctime) {
        as_before_ = true;
      } else if (node != nullptr && node->ctime == raise_time(seen->ctime, *update.raise_ctime)) {
        stamped_ = true;
      } else {
        moved_on_ = true;
      }
    });
  }
  void about(AppendSlices const& append) {
    if (append.only_existing) {
      return;
    }
    auto const unique = made_here(commit_, append.slices);
    ask(append.key, [this, unique, wanted = append.slices](Value const& value) {
      auto const there = contains_all(value, wanted);
      made_ = made_ || (unique && there);
      all_there_ = all_there_ && there;
    });
  }
  void about(ReplaceChunkPrefix const& replace) {
    ask_whether(replace.key, [wanted = replace.slices](Value const& value) {
      return contains_all(value, wanted);
    });
  }
  template <class Other>
  void about(Other const& /*change*/) {}

  Commit const& commit_;
  std::vector<Key> keys_;
  std::vector<std::function<void(Value const&)>> checks_;
  bool made_ = false;       ///< something that only this attempt can have made is there
  bool stamped_ = false;    ///< a node has the time stamp that the commit gives it
  bool as_before_ = false;  ///< a node that the commit stamps has its old stamp
  bool moved_on_ = false;   ///< a node has another stamp, or is gone
  bool all_there_ = true;   ///< everything is as the commit leaves it
};

}  // namespace

Result<Fate> fate_of(Engine& engine, Context const& ctx, Commit const& commit) {
  Questions questions(commit);
  if (questions.keys().empty()) {
    return Fate::not_happened;
  }
  ZEST_TRY(auto const values, engine.fetch(ctx, questions.keys()));
  return questions.answer(values);
}

}  // namespace zest::meta

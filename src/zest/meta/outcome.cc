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

struct Questions {
  std::vector<Key> keys;
  std::vector<Check> checks;

  void ask(Key key, Check check) {
    keys.push_back(std::move(key));
    checks.push_back(std::move(check));
  }
  void about(Put const& put) {
    if (std::holds_alternative<NodeKey>(put.key)) {
      // A new node may have been changed since.
      ask(put.key, [](Value const& value) { return !is_absent(value); });
    } else if (tells(put.key)) {
      ask(put.key, [wanted = put.value](Value const& value) { return value == wanted; });
    }
  }
  void about(Erase const& erase) {
    if (tells(erase.key) || std::holds_alternative<ChunkKey>(erase.key)) {
      ask(erase.key, is_absent);
    }
  }
  void about(UpdateNode const& update) {
    ask(NodeKey{update.ino}, [update](Value const& value) { return shows_update(value, update); });
  }
  void about(AppendSlices const& append) {
    if (!append.only_existing) {
      ask(append.key,
          [wanted = append.slices](Value const& value) { return contains_all(value, wanted); });
    }
  }
  void about(ReplaceChunkPrefix const& replace) {
    ask(replace.key,
        [wanted = replace.slices](Value const& value) { return contains_all(value, wanted); });
  }
  template <class Other>
  void about(Other const& /*change*/) {}
};

}  // namespace

Result<bool> was_applied(Engine& engine, Context const& ctx, Commit const& commit) {
  Questions questions;
  for (auto const& change : commit.changes) {
    std::visit([&](auto const& kind) { questions.about(kind); }, change);
  }
  if (questions.keys.empty()) {
    return false;
  }
  ZEST_TRY(auto const values, engine.fetch(ctx, questions.keys));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!questions.checks[i](values[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace zest::meta

#include "zest/meta/engine/kv/kv_split.h"

#include <algorithm>
#include <utility>

namespace zest::meta::kv {

namespace {

bool grows_references(Change const& change) {
  auto const* reference = std::get_if<AddSliceRef>(&change);
  return reference != nullptr && reference->delta > 0;
}

bool appends_zeros(Change const& change) {
  auto const* append = std::get_if<AppendSlices>(&change);
  return append != nullptr && append->only_existing &&
         std::ranges::all_of(append->slices,
                             [](SliceRecord const& slice) { return slice.id.value == 0; });
}

/// References that a condition looks at must change together with it.
bool expects_references(Commit const& commit) {
  return std::ranges::any_of(commit.conditions, [](Condition const& condition) {
    auto const* equal = std::get_if<ExpectEqual>(&condition);
    auto const* absent = std::get_if<ExpectAbsent>(&condition);
    return (equal != nullptr && std::holds_alternative<SliceRefKey>(equal->key)) ||
           (absent != nullptr && std::holds_alternative<SliceRefKey>(absent->key));
  });
}

class Steps {
 public:
  Steps(Commit const& whole, std::size_t step_max, bool conditions)
      : whole_(whole), step_max_(step_max), conditions_(conditions) {}

  void add(Change change) {
    if (steps_.empty() || steps_.back().changes.size() == step_max_) {
      auto& step = steps_.emplace_back();
      step.fence = whole_.fence;
      if (conditions_) {
        step.conditions = whole_.conditions;
      }
    }
    steps_.back().changes.push_back(std::move(change));
  }
  [[nodiscard]] std::vector<Commit> take() noexcept { return std::move(steps_); }

 private:
  Commit const& whole_;
  std::size_t step_max_;
  bool conditions_;
  std::vector<Commit> steps_;
};

}  // namespace

std::optional<SplitCommit> split_commit(Commit const& commit, std::size_t step_max) {
  auto const references_apart = !expects_references(commit);
  Steps references(commit, step_max, /*conditions=*/false);
  Steps undo(commit, step_max, /*conditions=*/false);
  Steps zeros(commit, step_max, /*conditions=*/true);
  SplitCommit split;
  split.rest = {
      .conditions = commit.conditions, .changes = {}, .usage = commit.usage, .fence = commit.fence};
  for (auto const& change : commit.changes) {
    if (references_apart && grows_references(change)) {
      references.add(change);
      auto back = std::get<AddSliceRef>(change);
      back.delta = -back.delta;
      undo.add(back);
    } else if (appends_zeros(change)) {
      zeros.add(change);
    } else {
      split.rest.changes.push_back(change);
    }
  }
  split.references = references.take();
  split.undo = undo.take();
  split.zeros = zeros.take();
  if (split.references.empty() && split.zeros.empty()) {
    return std::nullopt;
  }
  return split;
}

}  // namespace zest::meta::kv

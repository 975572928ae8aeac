#include "zest/meta/txn.h"

#include <algorithm>
#include <string>

#include "zest/base/assert.h"

namespace zest::meta {

Result<void> Txn::fetch(std::span<Key const> keys) {
  std::vector<Key> wanted;
  wanted.reserve(keys.size());
  for (auto const& key : keys) {
    if (!read_.contains(key) && !take_hint(key) && std::ranges::find(wanted, key) == wanted.end()) {
      wanted.push_back(key);
    }
  }
  if (wanted.empty()) {
    return {};
  }
  auto const sent = hints_ != nullptr ? hints_->now() : Moment();
  ZEST_TRY(auto values, engine_.fetch(ctx_, wanted));
  ZEST_ASSERT(values.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (hints_ != nullptr) {
      hints_->remember(wanted[i], values[i], sent);
    }
    store(std::move(wanted[i]), std::move(values[i]));
  }
  return {};
}

// What was read first stays: conditions refer to what the body has decided on.
void Txn::store(Key key, Value value) {
  if (auto const* child = std::get_if<ChildKey>(&key)) {
    auto const* found = std::get_if<Child>(&value);
    read_.emplace(EdgeKey{child->parent, child->name},
                  found != nullptr ? Value(found->entry) : Value());
    if (found != nullptr) {
      read_.emplace(NodeKey{found->entry.ino},
                    found->attr.has_value() ? Value(*found->attr) : Value());
    }
  }
  read_.emplace(std::move(key), std::move(value));
}

bool Txn::take_hint(Key const& key) {
  if (hints_ == nullptr || use_ == HintUse::none) {
    return false;
  }
  auto hint = hints_->find(key, use_);
  if (!hint.has_value()) {
    return false;
  }
  if (auto const* node = std::get_if<NodeKey>(&key)) {
    hinted_.insert(node->ino);
  } else if (auto const* child = std::get_if<ChildKey>(&key)) {
    hinted_.insert(child->parent);
    if (auto const* found = std::get_if<Child>(&*hint)) {
      hinted_.insert(found->entry.ino);
    }
  } else if (auto const* edge = std::get_if<EdgeKey>(&key)) {
    hinted_.insert(edge->parent);
  }
  store(key, *std::move(hint));
  return true;
}

Result<Attr> Txn::node(Ino ino) {
  ZEST_TRY(auto attr, get(NodeKey{ino}));
  if (!attr.has_value()) {
    return Errc::noent;
  }
  return *attr;
}

void Txn::expect_node(Ino ino, std::uint32_t fields) {
  auto const found = read_.find(Key(NodeKey{ino}));
  ZEST_ASSERT(found != read_.end() && std::holds_alternative<Attr>(found->second));
  for (auto& condition : commit_.conditions) {
    if (auto* node = std::get_if<ExpectNode>(&condition); node != nullptr && node->ino == ino) {
      node->fields |= fields;
      return;
    }
  }
  commit_.conditions.emplace_back(ExpectNode{ino, fields, std::get<Attr>(found->second)});
}

void Txn::add_dir_stat(Ino dir, DirStat const& delta) {
  auto& sum = dir_stats_[dir];
  sum.length += delta.length;
  sum.space += delta.space;
  sum.inodes += delta.inodes;
}

void Txn::add_tree_usage(Ino dir, Usage const& delta) {
  auto& sum = quota_changes_.trees[dir];
  sum.space += delta.space;
  sum.inodes += delta.inodes;
}

Result<Value const*> Txn::lookup(Key key) {
  auto found = read_.find(key);
  if (found == read_.end()) {
    ZEST_CHECK(fetch(std::span(&key, 1)));
    found = read_.find(key);
  }
  return &found->second;
}

void Txn::expect_as_read(Key key) {
  if (auto const* child = std::get_if<ChildKey>(&key)) {
    key = EdgeKey{child->parent, child->name};
  }
  auto const found = read_.find(key);
  ZEST_ASSERT(found != read_.end());
  if (std::holds_alternative<std::monostate>(found->second)) {
    commit_.conditions.emplace_back(ExpectAbsent{std::move(key)});
  } else {
    commit_.conditions.emplace_back(ExpectEqual{std::move(key), found->second});
  }
}

}  // namespace zest::meta

#include "zest/meta/record_hints.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <variant>

#include "zest/meta/engine/node_fields.h"

namespace zest::meta {
namespace {

std::size_t slot_of(Ino ino, std::size_t slots) noexcept {
  // Consecutive inodes are the rule: take them as they come, and the batches of other clients too.
  return (ino.value ^ (ino.value >> 12U)) % slots;
}

}  // namespace

std::size_t RecordHints::NameHash::operator()(Name const& name) const noexcept {
  return std::hash<std::string_view>()(name.name) ^ (name.parent.value * 0x9E3779B97F4A7C15ULL);
}

RecordHints::RecordHints(Clock const& clock, Limits limits) : clock_(clock), limits_(limits) {}

Moment RecordHints::now() noexcept {
  return {.change = changes_.load(std::memory_order_acquire), .tick = tick(), .time = clock_.now()};
}

Moment RecordHints::sending(Commit const& commit) {
  auto const moment = now();
  if (pushes_.load(std::memory_order_acquire)) {
    std::lock_guard const lock(mutex_);
    known_dirs_.sent(moment.tick, commit);
  }
  return moment;
}

// ---- looking

bool RecordHints::usable(std::uint64_t read_at, Changes const& changes, Ino ino,
                         HintUse use) const noexcept {
  if (use == HintUse::any) {
    return true;
  }
  return use == HintUse::current && pushes_.load(std::memory_order_acquire) &&
         read_at >= floor_.load(std::memory_order_acquire) &&
         read_at >= changes[slot_of(ino, changes.size())].load(std::memory_order_acquire) &&
         read_at != 0;
}

std::optional<Value> RecordHints::find_node(Ino ino, HintUse use) {
  auto const* node = nodes_.find(ino);
  if (node == nullptr || !usable(node->read_at, node_changes_, ino, use)) {
    return std::nullopt;
  }
  return Value(node->value.attr);
}

std::optional<Value> RecordHints::find_name(Name const& name, HintUse use) {
  auto const* found = names_.find(name);
  if (use != HintUse::none && known_dirs_.whole(name.parent)) {
    return found != nullptr && found->value.has_value() ? Value(*found->value) : Value();
  }
  if (found == nullptr || !usable(found->read_at, entry_changes_, name.parent, use)) {
    return std::nullopt;
  }
  return found->value.has_value() ? Value(*found->value) : Value();
}

std::optional<Value> RecordHints::find_child(ChildKey const& key, HintUse use) {
  auto const entry = find_name({.parent = key.parent, .name = key.name}, use);
  if (!entry.has_value() || std::holds_alternative<std::monostate>(*entry)) {
    return entry;
  }
  auto const& target = std::get<Entry>(*entry);
  auto const node = find_node(target.ino, use);
  if (!node.has_value()) {
    return std::nullopt;
  }
  return Value(Child{.entry = target, .attr = std::get<Attr>(*node)});
}

std::optional<Value> RecordHints::find(Key const& key, HintUse use) {
  if (use == HintUse::none || (use == HintUse::current && !pushes_.load())) {
    return std::nullopt;
  }
  std::lock_guard const lock(mutex_);
  if (auto const* node = std::get_if<NodeKey>(&key)) {
    return find_node(node->ino, use);
  }
  if (auto const* edge = std::get_if<EdgeKey>(&key)) {
    return find_name({.parent = edge->parent, .name = edge->name}, use);
  }
  if (auto const* child = std::get_if<ChildKey>(&key)) {
    return find_child(*child, use);
  }
  return std::nullopt;
}

std::optional<RecentNode> RecordHints::recent_dir(Ino ino, TimePoint oldest) {
  std::lock_guard const lock(mutex_);
  auto const* node = nodes_.find(ino);
  if (node == nullptr || node->value.complete == 0 || node->value.read < oldest ||
      node->value.attr.type != FileType::directory) {
    return std::nullopt;
  }
  return RecentNode{.attr = node->value.attr, .read_at = node->value.read};
}

// ---- learning

// A name that has to give way may be one that is there: then its directory is not known whole.
void RecordHints::put_name(Name name, std::optional<Entry> entry, std::uint64_t read_at) {
  if (auto* known = names_.find(name); known != nullptr) {
    // Readings that overtook one another: the later one counts.
    if (read_at == 0 || read_at >= known->read_at) {
      *known = {.value = entry, .read_at = read_at};
    }
    return;
  }
  auto const gone = names_.add(name, {.value = entry, .read_at = read_at}, limits_.names);
  if (gone.has_value() && gone->second.value.has_value()) {
    known_dirs_.forget(gone->first.parent);
  }
}

void RecordHints::put_node(Ino ino, Node node, std::uint64_t read_at) {
  if (auto* known = nodes_.find(ino); known == nullptr) {
    nodes_.add(ino, {.value = std::move(node), .read_at = read_at}, limits_.nodes);
  } else if (read_at == 0 || read_at >= known->read_at) {
    *known = {.value = std::move(node), .read_at = read_at};
  }
}

void RecordHints::remember_node(Ino ino, Attr const* attr, Moment const& sent) {
  if (attr == nullptr) {
    nodes_.erase(ino);
    return;
  }
  // A commit that ended while the reading was under way may be missing in it.
  auto const whole = own_changes_[slot_of(ino, own_changes_.size())] < sent.tick;
  put_node(ino, {.attr = *attr, .complete = whole ? tick() : 0, .read = sent.time}, sent.change);
}

void RecordHints::remember(Key const& key, Value const& value, Moment const& sent) {
  std::lock_guard const lock(mutex_);
  auto const keep_name = [&](Ino parent, std::string const& name, std::optional<Entry> entry) {
    if (!known_dirs_.contains(parent)) {  // what is known of it all is not older than any reading
      put_name({.parent = parent, .name = name}, entry, sent.change);
    }
  };
  if (auto const* node = std::get_if<NodeKey>(&key)) {
    remember_node(node->ino, std::get_if<Attr>(&value), sent);
  } else if (auto const* edge = std::get_if<EdgeKey>(&key)) {
    auto const* entry = std::get_if<Entry>(&value);
    keep_name(edge->parent, edge->name, entry == nullptr ? std::nullopt : std::optional(*entry));
  } else if (auto const* key_of_child = std::get_if<ChildKey>(&key)) {
    auto const* child = std::get_if<Child>(&value);
    keep_name(key_of_child->parent, key_of_child->name,
              child == nullptr ? std::nullopt : std::optional(child->entry));
    if (child != nullptr) {
      remember_node(child->entry.ino, child->attr.has_value() ? &*child->attr : nullptr, sent);
    }
  }
}

void RecordHints::apply_node(Ino ino, Attr const& attr, Moment const& sent) {
  // Of two own commits that were under way together nobody knows which one was first.
  auto& ended = own_changes_[slot_of(ino, own_changes_.size())];
  auto const alone = ended < sent.tick;
  ended = tick();
  put_node(ino, {.attr = attr, .complete = alone ? ended : 0, .read = sent.time}, 0);
  // Directories are put when they are made. Somebody else may have found it before this client was
  // told that it exists.
  auto const& entries = entry_changes_[slot_of(ino, entry_changes_.size())];
  if (attr.type == FileType::directory && pushes_.load(std::memory_order_acquire) &&
      entries.load(std::memory_order_acquire) <= sent.change && !known_dirs_.contains(ino)) {
    known_dirs_.made(ino);
  }
}

void RecordHints::apply_update(UpdateNode const& update, Moment const& sent) {
  own_changes_[slot_of(update.ino, own_changes_.size())] = tick();
  auto* node = nodes_.find(update.ino);
  if (node == nullptr) {
    return;
  }
  // Others may have raised the time stamps meanwhile: good for a decision, not for a current
  // answer.
  meta::apply_update(node->value.attr, update);
  node->read_at = 0;
  if (node->value.complete > sent.tick) {
    node->value.complete = 0;  // what was read after the commit was sent may contain it already
  }
}

void RecordHints::apply(Change const& change, Moment const& sent) {
  if (auto const* put = std::get_if<Put>(&change)) {
    if (auto const* node = std::get_if<NodeKey>(&put->key)) {
      apply_node(node->ino, std::get<Attr>(put->value), sent);
    } else if (auto const* edge = std::get_if<EdgeKey>(&put->key)) {
      put_name({.parent = edge->parent, .name = edge->name}, std::get<Entry>(put->value), 0);
    }
  } else if (auto const* erase = std::get_if<Erase>(&change)) {
    if (auto const* node = std::get_if<NodeKey>(&erase->key)) {
      own_changes_[slot_of(node->ino, own_changes_.size())] = tick();
      nodes_.erase(node->ino);
      known_dirs_.forget(node->ino);
    } else if (auto const* edge = std::get_if<EdgeKey>(&erase->key)) {
      put_name({.parent = edge->parent, .name = edge->name}, std::nullopt, 0);
    }
  } else if (auto const* update = std::get_if<UpdateNode>(&change)) {
    apply_update(*update, sent);
  }
}

void RecordHints::committed(Commit const& commit, Moment const& sent) {
  std::lock_guard const lock(mutex_);
  for (auto const& change : commit.changes) {
    apply(change, sent);
  }
}

void RecordHints::failed(Commit const& commit, Moment const& sent) {
  std::lock_guard const lock(mutex_);
  known_dirs_.failed(sent.tick, commit);
  auto const forget = [this](Key const& key) {
    if (auto const* node = std::get_if<NodeKey>(&key)) {
      nodes_.erase(node->ino);
    } else if (auto const* edge = std::get_if<EdgeKey>(&key)) {
      names_.erase({.parent = edge->parent, .name = edge->name});
      known_dirs_.forget(edge->parent);
    }
  };
  for (auto const& condition : commit.conditions) {
    if (auto const* node = std::get_if<ExpectNode>(&condition)) {
      nodes_.erase(node->ino);
    } else if (auto const* absent = std::get_if<ExpectAbsent>(&condition)) {
      forget(absent->key);
    } else if (auto const* equal = std::get_if<ExpectEqual>(&condition)) {
      forget(equal->key);
    }
  }
  for (auto const& change : commit.changes) {
    if (auto const* update = std::get_if<UpdateNode>(&change)) {
      nodes_.erase(update->ino);
    } else if (auto const* put = std::get_if<Put>(&change)) {
      forget(put->key);
    }
  }
}

// ---- pushes

// The number is taken and stored in one go only from the reader's view: a record that was read
// between the two has an older number than the slot gets, and so is not current.
void RecordHints::note(Changes& changes, Ino ino) noexcept {
  auto const number = changes_.fetch_add(1, std::memory_order_acq_rel) + 1;
  auto& slot = changes[slot_of(ino, changes.size())];
  auto seen = slot.load(std::memory_order_relaxed);
  while (seen < number && !slot.compare_exchange_weak(seen, number, std::memory_order_acq_rel)) {
  }
}

void RecordHints::nodes_changed(std::span<Ino const> nodes) noexcept {
  for (auto const ino : nodes) {
    note(node_changes_, ino);
  }
  std::lock_guard const lock(mutex_);
  known_dirs_.nodes_changed(nodes);
}

void RecordHints::entries_changed(std::span<Ino const> dirs) noexcept {
  for (auto const dir : dirs) {
    note(entry_changes_, dir);
  }
  std::lock_guard const lock(mutex_);
  known_dirs_.entries_changed(dirs);
}

void RecordHints::everything_changed() noexcept {
  floor_.store(changes_.fetch_add(1, std::memory_order_acq_rel) + 1, std::memory_order_release);
  std::lock_guard const lock(mutex_);
  known_dirs_.forget_all();
}

}  // namespace zest::meta

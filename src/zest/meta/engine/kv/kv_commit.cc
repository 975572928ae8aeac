// Conditions and changes of a commit on the records of format/04.
#include <algorithm>
#include <utility>

#include "zest/base/bytes.h"
#include "zest/format/attr.h"
#include "zest/format/endian.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/kv/kv_records.h"
#include "zest/meta/engine/kv/kv_values.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta::kv {

namespace {

/// Keys whose store_key() holds the record itself and nothing else.
bool is_one_value(Key const& key) {
  return !std::holds_alternative<ChildKey>(key) && !std::holds_alternative<ParentsKey>(key) &&
         !std::holds_alternative<HasEntriesKey>(key) && !std::holds_alternative<FlockKey>(key) &&
         !std::holds_alternative<PlockKey>(key) && !std::holds_alternative<SessionKey>(key);
}

class CommitBody {
 public:
  CommitBody(View& view, Layout const& layout) : view_(view), layout_(layout) {}

  Result<void> run(Commit const& commit) {
    // While records are missing, verdicts don't count; the rest is looked at all the same, so that
    // everything missing is read in one trip.
    ZEST_CHECK(unless_missing(check_fence(commit.fence)));
    for (auto const& condition : commit.conditions) {
      ZEST_CHECK(unless_missing(
          std::visit([this](auto const& c) { return check(c); }, condition)));
    }
    for (auto const& change : commit.changes) {
      ZEST_CHECK(unless_missing(std::visit([this](auto const& c) { return apply(c); }, change)));
    }
    return {};
  }

 private:
  [[nodiscard]] Result<void> unless_missing(Result<void> result) const {
    return view_.missing().empty() ? std::move(result) : Result<void>();
  }

  // ---- conditions

  Result<void> check_fence(SessionId session) {
    if (session.value == 0) {
      return {};
    }
    // Eight bytes, big-endian, above 0: between 0 and the first negative number.
    auto const holds = view_.require_between(*store_key(layout_, SessionKey{session}),
                                             std::string(8, '\0'), "\x80" + std::string(7, '\0'));
    return holds ? Result<void>() : fenced(session);
  }

  Result<void> is(Key const& key, Value const& expected) {
    ZEST_TRY(auto const value, read_record(view_, layout_, key));
    return value == normalized(expected) ? Result<void>() : conflict(key);
  }
  Result<void> check(ExpectAbsent const& c) { return is_absent(c.key); }
  Result<void> is_absent(Key const& key) {
    if (auto const stored = store_key(layout_, key)) {
      view_.suppose(*stored, std::nullopt);
    }
    return is(key, Value());
  }
  Result<void> check(ExpectEqual const& c) {
    if (auto const* has_entries = std::get_if<HasEntriesKey>(&c.key)) {
      if (c.value == Value(false)) {
        view_.suppose_empty(layout_.edges(has_entries->ino, 1));
      }
      return is(c.key, c.value);
    }
    auto const expected = normalized(c.value);
    if (std::holds_alternative<std::monostate>(expected)) {
      return is_absent(c.key);
    }
    auto const typed = std::visit(
        [&expected](auto const& key) { return record_of(key, expected) != nullptr; }, c.key);
    if (typed && is_one_value(c.key)) {
      view_.suppose(*store_key(layout_, c.key), encode_value(c.key, expected));
    }
    return is(c.key, expected);
  }
  Result<void> check(ExpectNode const& c) {
    ZEST_TRY(auto const value, read_record(view_, layout_, NodeKey{c.ino}));
    auto const* node = std::get_if<Attr>(&value);
    if (node == nullptr || !same_fields(*node, c.seen, c.fields)) {
      return conflict(NodeKey{c.ino});
    }
    return {};
  }
  Result<void> check(ExpectEmptyDir const& c) {
    view_.suppose_empty(layout_.edges(c.ino, 1));
    return is(HasEntriesKey{c.ino}, false);
  }
  Result<void> check(ExpectChunkPrefix const& c) {
    if (c.prefix.empty()) {
      return {};
    }
    ZEST_TRY(auto const value, read_record(view_, layout_, c.key));
    auto const* slices = std::get_if<Slices>(&value);
    if (slices == nullptr || slices->size() < c.prefix.size() ||
        !std::equal(c.prefix.begin(), c.prefix.end(), slices->begin())) {
      return conflict(c.key);
    }
    return {};
  }

  // ---- changes

  void store(Key const& key, Value const& value) {
    auto encoded = encode_value(key, value);
    auto const list = std::holds_alternative<ChunkKey>(key) ||
                      std::holds_alternative<FlocksKey>(key) ||
                      std::holds_alternative<PlocksKey>(key);
    if (list && encoded.empty()) {
      view_.erase(*store_key(layout_, key));
    } else {
      view_.put(*store_key(layout_, key), std::move(encoded));
    }
  }

  /// Changes one owner's lock in the set of the inode; monostate erases it.
  template <class Set, class K>
  Result<void> change_owner(Key const& all, K const& key, Value const& lock) {
    ZEST_TRY(auto value, read_record(view_, layout_, all));
    auto set = std::holds_alternative<Set>(value) ? std::get<Set>(std::move(value)) : Set();
    LockOwner const owner{.session = key.session, .owner = key.owner};
    if (auto const* held = record_of(key, lock)) {
      set.insert_or_assign(owner, *held);
    } else {
      set.erase(owner);
    }
    store(all, set);
    return {};
  }

  Result<void> apply(Put const& c) {
    ZEST_CHECK(check_put(c));
    if (auto const* k = std::get_if<FlockKey>(&c.key)) {
      return change_owner<Flocks>(FlocksKey{k->ino}, *k, c.value);
    }
    if (auto const* k = std::get_if<PlockKey>(&c.key)) {
      return change_owner<Plocks>(PlocksKey{k->ino}, *k, normalized(c.value));
    }
    if (auto const* k = std::get_if<SessionKey>(&c.key)) {
      auto const& record = *record_of(*k, c.value);
      view_.put(*store_key(layout_, c.key), encode_time_be(record.expire_sec));
      view_.put(layout_.key({.kind = KvKind::session_info, .id = k->session.value}), record.info);
      return {};
    }
    store(c.key, c.value);
    return {};
  }

  Result<void> apply(Erase const& c) {
    ZEST_CHECK(check_erase(c.key));
    if (auto const* has_entries = std::get_if<HasEntriesKey>(&c.key)) {
      erase_all(layout_.edges(has_entries->ino, 1));
    } else if (auto const* parents = std::get_if<ParentsKey>(&c.key)) {
      erase_all(layout_.parents(parents->ino));
    } else if (auto const* flock = std::get_if<FlockKey>(&c.key)) {
      return change_owner<Flocks>(FlocksKey{flock->ino}, *flock, Value());
    } else if (auto const* plock = std::get_if<PlockKey>(&c.key)) {
      return change_owner<Plocks>(PlocksKey{plock->ino}, *plock, Value());
    } else if (auto const* quota = std::get_if<QuotaKey>(&c.key);
               quota != nullptr && quota->type != QuotaType::directory) {
      return unlimit(*quota);
    } else {
      if (auto const* session = std::get_if<SessionKey>(&c.key)) {
        for (auto const kind : {KvKind::session_info, KvKind::session_heartbeat}) {
          view_.erase(layout_.key({.kind = kind, .id = session->session.value}));
        }
      }
      view_.erase(*store_key(layout_, c.key));
    }
    return {};
  }
  void erase_all(Range range) { view_.erase_range(std::move(range.begin), std::move(range.end)); }

  /// Users and groups stay counted when their limits go.
  Result<void> unlimit(QuotaKey const& key) {
    ZEST_TRY(auto const value, read_record(view_, layout_, key));
    if (auto const* quota = std::get_if<Quota>(&value)) {
      auto unlimited = *quota;
      unlimited.max_space = -1;
      unlimited.max_inodes = -1;
      store(key, unlimited);
    }
    return {};
  }

  Result<void> apply(EraseXattrs const& c) {
    erase_all(layout_.xattrs(c.ino, 1));
    return {};
  }

  Result<void> apply(UpdateNode const& c) {
    ZEST_TRY(auto value, read_record(view_, layout_, NodeKey{c.ino}));
    auto* node = std::get_if<Attr>(&value);
    if (node == nullptr) {
      return conflict(NodeKey{c.ino});
    }
    apply_update(*node, c);
    store(NodeKey{c.ino}, *node);
    return {};
  }

  Result<void> apply(AppendSlices const& c) {
    auto const key = layout_.chunk(c.key);
    auto const old = view_.get(key);
    if (c.slices.empty() || (!old && c.only_existing)) {
      return {};
    }
    if (old && old->size() % kSliceRecordSize != 0) {
      return Error::corrupt("a list of slices of a broken length").with(describe(c.key));
    }
    view_.put(key, std::string(old.value_or("")) + encode_slices(c.slices));
    return {};
  }

  Result<void> apply(ReplaceChunkPrefix const& c) {
    ZEST_TRY(auto value, read_record(view_, layout_, c.key));
    auto slices =
        std::holds_alternative<Slices>(value) ? std::get<Slices>(std::move(value)) : Slices();
    auto const count = std::min(c.count, slices.size());
    slices.erase(slices.begin(), slices.begin() + static_cast<std::ptrdiff_t>(count));
    slices.insert(slices.begin(), c.slices.begin(), c.slices.end());
    store(c.key, slices);
    return {};
  }

  /// One reference is what no record stands for.
  Result<void> apply(NewSlice const& c) {
    if (c.refs > 1) {
      view_.put(*store_key(layout_, SliceRefKey{.id = c.id, .size = c.size}),
                encode_counter_le(c.refs - 1));
    }
    return {};
  }

  Result<void> apply(AddSliceRef const& c) {
    SliceRefKey const key{.id = c.id, .size = c.size};
    auto const stored = *store_key(layout_, key);
    ZEST_TRY(auto const others, read_counter(view_, stored, describe(key)));
    std::int64_t sum = 0;
    if (__builtin_add_overflow(others, c.delta, &sum)) {
      return Error::corrupt("a count out of range").with(describe(key));
    }
    if (sum == 0) {
      view_.erase(stored);  // A zero record means the same and would have to be cleaned up.
    } else {
      view_.put(stored, encode_counter_le(sum));
    }
    return {};
  }

  Result<void> apply(AddParent const& c) {
    auto const key = layout_.key(
        {.kind = KvKind::parent, .id = c.ino.value, .second = c.parent.value});
    ZEST_TRY(auto const names, read_counter(view_, key, describe(ParentsKey{c.ino})));
    std::int64_t sum = 0;
    if (__builtin_add_overflow(names, c.delta, &sum)) {
      return Error::corrupt("a count out of range").with(describe(ParentsKey{c.ino}));
    }
    if (sum <= 0) {
      view_.erase(key);
    } else {
      view_.put(key, encode_counter_le(sum));
    }
    return {};
  }

  Result<void> apply(DelaySlices const& c) {
    DelayedSlicesKey const key{.compacted_into = c.compacted_into, .deleted_sec = c.now_sec};
    store(key, c.slices);
    return {};
  }

  View& view_;
  Layout const& layout_;
};

}  // namespace

Result<void> run_commit(View& view, Layout const& layout, Commit const& commit) {
  return CommitBody(view, layout).run(commit);
}

}  // namespace zest::meta::kv

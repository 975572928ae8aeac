#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/remote/commit_batch.h"
#include "zest/meta/engine/sql/remote/records.h"

namespace zest::meta::sql {

namespace {

bool is_absent(Value const& value) {
  return std::holds_alternative<std::monostate>(value);
}

/// Records whose absence an index can vouch for, and that never stand for "nothing" themselves.
bool has_unique_name(Key const& key) {
  return std::holds_alternative<EdgeKey>(key) || std::holds_alternative<NodeKey>(key) ||
         std::holds_alternative<XattrKey>(key);
}

}  // namespace

Result<void> ConditionBuilder::build() {
  find_plain_inserts();
  ZEST_CHECK(plan_conditions());
  ZEST_CHECK(plan_changes());
  check_fence();
  check_nodes();
  return check_rows();
}

// ---- planning

void ConditionBuilder::find_plain_inserts() {
  std::set<Key> absent;
  for (auto const& condition : commit_.conditions) {
    if (auto const* expected = std::get_if<ExpectAbsent>(&condition);
        expected != nullptr && has_unique_name(expected->key)) {
      absent.insert(expected->key);
    }
  }
  for (auto const& change : commit_.changes) {
    if (auto const* put = std::get_if<Put>(&change)) {
      if (absent.erase(put->key) != 0) {
        plain_inserts_.insert(put->key);
      }
    } else if (auto const* erased = std::get_if<Erase>(&change)) {
      absent.erase(erased->key);
      if (std::holds_alternative<HasEntriesKey>(erased->key)) {
        return;
      }
    } else if (std::holds_alternative<EraseXattrs>(change)) {
      return;
    }
  }
}

void ConditionBuilder::want_lock(Ino ino, RowLock lock) {
  auto& plan = nodes_[ino];
  plan.lock = std::max(plan.lock, lock);
}

Result<void> ConditionBuilder::plan_conditions() {
  for (auto const& condition : commit_.conditions) {
    ZEST_CHECK(plan(condition));
  }
  return {};
}

Result<void> ConditionBuilder::plan(Condition const& condition) {
  return std::visit(
      Overloaded{
          [&](ExpectNode const& c) -> Result<void> {
            want_lock(c.ino, RowLock::share);
            nodes_[c.ino].checks.push_back(c);
            return {};
          },
          [&](ExpectAbsent const& c) { return plan_equal(c.key, Value()); },
          [&](ExpectEqual const& c) { return plan_equal(c.key, normalized(c.value)); },
          [&](ExpectEmptyDir const& c) -> Result<void> {
            want_lock(c.ino, RowLock::update);
            rows_.emplace_back(c);
            return {};
          },
          [&](ExpectChunkPrefix const& c) -> Result<void> {
            if (!c.prefix.empty()) {
              rows_.emplace_back(c);
            }
            return {};
          },
      },
      condition);
}

Result<void> ConditionBuilder::plan_equal(Key const& key, Value const& value) {
  if (auto const* node = std::get_if<NodeKey>(&key)) {
    if (is_absent(value)) {
      nodes_[node->ino].must_be_absent = !plain_inserts_.contains(key);
      return {};
    }
    auto const* attr = std::get_if<Attr>(&value);
    return attr == nullptr
               ? conflict(key)
               : plan(ExpectNode{.ino = node->ino, .fields = kAllFields, .seen = *attr});
  }
  if (auto const* child = std::get_if<ChildKey>(&key); child != nullptr && !is_absent(value)) {
    auto const* record = std::get_if<Child>(&value);
    if (record == nullptr) {
      return conflict(key);
    }
    ZEST_CHECK(plan_equal(EdgeKey{child->parent, child->name}, record->entry));
    return plan_equal(NodeKey{record->entry.ino}, record->attr ? Value(*record->attr) : Value());
  }
  if (is_absent(value) && plain_inserts_.contains(key)) {
    return {};
  }
  lock_owner_of(key);
  rows_.emplace_back(ExpectEqual{.key = key, .value = value});
  return {};
}

/// What guards a set, or a record that is not there.
void ConditionBuilder::lock_owner_of(Key const& key) {
  std::visit(Overloaded{
                 [&](EdgeKey const& k) { want_lock(k.parent, RowLock::share); },
                 [&](ChildKey const& k) { want_lock(k.parent, RowLock::update); },
                 [&](HasEntriesKey const& k) { want_lock(k.ino, RowLock::update); },
                 [&](ParentsKey const& k) { want_lock(k.ino, RowLock::update); },
                 [&](FlocksKey const& k) { want_lock(k.ino, RowLock::update); },
                 [&](FlockKey const& k) { want_lock(k.ino, RowLock::update); },
                 [&](PlocksKey const& k) { want_lock(k.ino, RowLock::update); },
                 [&](PlockKey const& k) { want_lock(k.ino, RowLock::update); },
                 [&](ChunkKey const& k) { want_lock(k.ino, RowLock::share); },
                 [&](XattrKey const& k) { want_lock(k.ino, RowLock::share); },
                 [](auto const& /*k*/) {},
             },
             key);
}

Result<void> ConditionBuilder::plan_changes() {
  std::map<Ino, bool> known;
  for (auto const& change : commit_.changes) {
    Key const* key = nullptr;
    if (auto const* put = std::get_if<Put>(&change)) {
      key = &put->key;
    } else if (auto const* erased = std::get_if<Erase>(&change)) {
      key = &erased->key;
    }
    if (key != nullptr) {
      if (auto const* node = std::get_if<NodeKey>(key)) {
        known[node->ino] = std::holds_alternative<Put>(change);
        if (nodes_.contains(node->ino)) {
          want_lock(node->ino, RowLock::update);
        }
      }
    } else if (auto const* update = std::get_if<UpdateNode>(&change)) {
      auto const it = known.find(update->ino);
      if (it != known.end() && !it->second) {
        return conflict(NodeKey{update->ino});
      }
      if (it == known.end()) {
        want_lock(update->ino, RowLock::update);
        nodes_[update->ino].must_exist = true;
      }
    }
  }
  return {};
}

// ---- statements

void ConditionBuilder::check_fence() {
  if (commit_.fence.value == 0) {
    return;
  }
  out_.push_back({.text = sql_.expect("COUNT(*)=1", "1", sql_.table("session2"),
                                      "sid=? AND expire>0", RowLock::share),
                  .parameters = {number(commit_.fence.value)}});
}

void ConditionBuilder::check_nodes() {
  for (auto const& [ino, plan] : nodes_) {
    Row row{.table = "node", .key = {{.name = "inode", .value = number(ino.value)}}};
    for (auto const& check : plan.checks) {
      row.values = node_columns(check.seen, check.fields);
      out_.push_back(sql_.expect_equal(row, plan.lock));
    }
    row.values.clear();
    if (plan.must_be_absent) {
      out_.push_back(sql_.expect_absent(row));
    } else if (plan.checks.empty() && plan.must_exist) {
      out_.push_back(sql_.expect_equal(row, plan.lock));
    } else if (plan.checks.empty() && plan.lock != RowLock::none) {
      out_.push_back(
          {.text = sql_.expect("COUNT(*)>=0", "1", sql_.table("node"), "inode=?", plan.lock),
           .parameters = {number(ino.value)}});
    }
  }
}

Result<void> ConditionBuilder::check_rows() {
  for (auto const& condition : rows_) {
    if (auto const* equal = std::get_if<ExpectEqual>(&condition)) {
      ZEST_CHECK(is_absent(equal->value) ? check_absent(equal->key)
                                         : check_equal(equal->key, equal->value));
    } else if (auto const* empty = std::get_if<ExpectEmptyDir>(&condition)) {
      ZEST_CHECK(check_equal(HasEntriesKey{empty->ino}, Value(false)));
    } else if (auto const* prefix = std::get_if<ExpectChunkPrefix>(&condition)) {
      auto const bytes = encode_slices(prefix->prefix);
      auto const where = fmt::format("inode=? AND indx=? AND {}=?", sql_.head_of("slices"));
      out_.push_back(
          {.text = sql_.expect("COUNT(*)=1", "1", sql_.table("chunk"), where, RowLock::update),
           .parameters = {number(prefix->key.ino.value), number(prefix->key.index.value),
                          number(bytes.size()), Bytes{bytes}}});
    }
  }
  return {};
}

/// The set of rows with this inode has exactly these members.
void ConditionBuilder::check_set(std::string_view table, std::string_view where, Ino ino,
                                 std::vector<std::vector<Column>> const& members) {
  Statement statement;
  std::string any;
  for (auto const& member : members) {
    any +=
        fmt::format("{}({})", any.empty() ? "" : " OR ", sql_.where(member, statement.parameters));
  }
  auto const condition =
      members.empty()
          ? std::string("COUNT(*)=0")
          : fmt::format("COUNT(*)={0} AND COALESCE(SUM(CASE WHEN {1} THEN 1 ELSE 0 END),0)={0}",
                        members.size(), any);
  statement.text = sql_.expect(condition, "*", sql_.table(table), where, RowLock::update);
  statement.parameters.push_back(number(ino.value));
  out_.push_back(std::move(statement));
}

Result<void> ConditionBuilder::check_absent(Key const& key) {
  return std::visit(Overloaded{
                        [&](ChildKey const& k) {
                          return check_absent(EdgeKey{.parent = k.parent, .name = k.name});
                        },
                        // Always there, as a yes or no.
                        [&](HasEntriesKey const& /*k*/) -> Result<void> { return conflict(key); },
                        [&](ParentsKey const& /*k*/) { return check_equal(key, Parents{}); },
                        [&](FlocksKey const& /*k*/) { return check_equal(key, Flocks{}); },
                        [&](PlocksKey const& /*k*/) { return check_equal(key, Plocks{}); },
                        [&](auto const& k) -> Result<void> {
                          using K = std::remove_cvref_t<decltype(k)>;
                          auto statement = sql_.expect_absent(row_of(key, Value()));
                          // An empty list is no record.
                          auto const list = std::is_same_v<K, ChunkKey>   ? "slices"
                                            : std::is_same_v<K, PlockKey> ? "records"
                                                                          : "";
                          if (*list != '\0') {
                            auto const row = row_of(key, Value());
                            statement.parameters.clear();
                            auto const where =
                                fmt::format("{} AND LENGTH({})>0",
                                            sql_.where(row.key, statement.parameters), list);
                            statement.text = sql_.expect("COUNT(*)=0", "1", sql_.table(row.table),
                                                         where, RowLock::update);
                          }
                          out_.push_back(std::move(statement));
                          return {};
                        },
                    },
                    key);
}

Result<void> ConditionBuilder::check_equal(Key const& key, Value const& value) {
  if (auto const* k = std::get_if<HasEntriesKey>(&key)) {
    auto const* expected = std::get_if<bool>(&value);
    if (expected == nullptr) {
      return conflict(key);
    }
    // Looks at one row only; the directory's node is locked.
    auto const one = fmt::format("(SELECT 1 FROM {} WHERE parent=? LIMIT 1) e", sql_.table("edge"));
    out_.push_back({.text = sql_.expect(*expected ? "COUNT(*)=1" : "COUNT(*)=0", "1", one, "1=1",
                                        RowLock::none),
                    .parameters = {number(k->ino.value)}});
    return {};
  }
  std::vector<std::vector<Column>> members;
  auto const owner = [](LockOwner const& o) -> std::vector<Column> {
    return {{.name = "sid", .value = number(o.session.value)},
            {.name = "owner", .value = number(o.owner)}};
  };
  if (auto const* k = std::get_if<FlocksKey>(&key)) {
    if (auto const* locks = std::get_if<Flocks>(&value)) {
      for (auto const& [who, type] : *locks) {
        members.push_back(owner(who));
        members.back().push_back(
            {.name = "ltype", .value = number(static_cast<std::uint64_t>(type))});
      }
      check_set("flock", "inode=?", k->ino, members);
      return {};
    }
    return conflict(key);
  }
  if (auto const* k = std::get_if<PlocksKey>(&key)) {
    if (auto const* locks = std::get_if<Plocks>(&value)) {
      for (auto const& [who, ranges] : *locks) {
        members.push_back(owner(who));
        members.back().push_back({.name = "records", .value = Bytes{encode_locks(ranges)}});
      }
      check_set("plock", "inode=? AND LENGTH(records)>0", k->ino, members);
      return {};
    }
    return conflict(key);
  }
  if (auto const* k = std::get_if<ParentsKey>(&key)) {
    auto const* parents = std::get_if<Parents>(&value);
    if (parents == nullptr) {
      return conflict(key);
    }
    Statement statement;
    std::int64_t names = 0;
    std::string each;
    for (auto const& [parent, count] : *parents) {
      names += count;
      each += " AND SUM(CASE WHEN parent=? THEN 1 ELSE 0 END)=?";
      statement.parameters.push_back(number(parent.value));
      statement.parameters.emplace_back(count);
    }
    statement.text = sql_.expect(fmt::format("COUNT(*)={}{}", names, each), "parent",
                                 sql_.table("edge"), "inode=?", RowLock::update);
    statement.parameters.push_back(number(k->ino.value));
    out_.push_back(std::move(statement));
    return {};
  }
  auto const matches =
      std::visit([&](auto const& k) { return record_of(k, value) != nullptr; }, key);
  if (!matches) {
    return conflict(key);
  }
  out_.push_back(sql_.expect_equal(row_of(key, value), RowLock::update));
  return {};
}

}  // namespace zest::meta::sql

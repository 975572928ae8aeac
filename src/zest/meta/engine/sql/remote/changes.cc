#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/remote/commit_batch.h"
#include "zest/meta/engine/sql/remote/records.h"
#include "zest/meta/engine/sql/stored_time.h"

namespace zest::meta::sql {

Result<std::vector<Statement>> commit_batch(Sql const& sql, Commit const& commit) {
  std::vector<Statement> batch;
  batch.push_back(sql.begin());
  ConditionBuilder conditions(sql, commit, batch);
  ZEST_CHECK(conditions.build());
  ChangeBuilder changes(sql, conditions.plain_inserts(), batch);
  for (auto const& change : commit.changes) {
    ZEST_CHECK(changes.add(change));
  }
  if (batch.size() <= 2) {
    // Nothing, or one statement, which is a transaction by itself.
    batch.erase(batch.begin());
    return batch;
  }
  batch.push_back(Sql::commit());
  return batch;
}

Result<void> ChangeBuilder::add(Change const& change) {
  return std::visit(
      Overloaded{
          [this](Put const& x) { return put(x); },
          [this](Erase const& x) { return erase(x.key); },
          [this](EraseXattrs const& x) -> Result<void> {
            run(fmt::format("DELETE FROM {} WHERE inode=?", sql_.table("xattr")),
                {number(x.ino.value)});
            return {};
          },
          [this](UpdateNode const& x) { return update(x); },
          [this](AppendSlices const& x) -> Result<void> {
            append(x);
            return {};
          },
          [this](ReplaceChunkPrefix const& x) -> Result<void> {
            replace_prefix(x);
            return {};
          },
          [this](NewSlice const& x) -> Result<void> {
            out_.push_back(sql_.upsert(row_of(SliceRefKey{x.id, x.size}, Value(x.refs))));
            return {};
          },
          [this](AddSliceRef const& x) -> Result<void> {
            add_slice_ref(x);
            return {};
          },
          // Derived from the entries (index on inode).
          [](AddParent const& /*x*/) { return Result<void>(); },
          [this](DelaySlices const& x) -> Result<void> {
            out_.push_back(sql_.upsert(row_of(
                DelayedSlicesKey{.compacted_into = x.compacted_into, .deleted_sec = x.now_sec},
                Value(x.slices))));
            return {};
          },
      },
      change);
}

Result<void> ChangeBuilder::put(Put const& change) {
  ZEST_CHECK(check_put(change));
  if (std::holds_alternative<FlocksKey>(change.key) ||
      std::holds_alternative<PlocksKey>(change.key)) {
    return put_set(change);
  }
  if (std::holds_alternative<std::monostate>(normalized(change.value))) {
    return erase(change.key);
  }
  if (auto const* node = std::get_if<NodeKey>(&change.key)) {
    ZEST_CHECK(check_fits(node->ino, std::get<Attr>(change.value), kAllFields));
  }
  auto const row = row_of(change.key, change.value);
  // Only the first put of a name stands for the condition that it was absent.
  auto const plain = plain_inserts_.erase(change.key) != 0;
  out_.push_back(plain ? sql_.insert(row) : sql_.upsert(row));
  return {};
}

Result<void> ChangeBuilder::put_set(Put const& change) {
  ZEST_CHECK(erase(change.key));
  if (auto const* k = std::get_if<FlocksKey>(&change.key)) {
    for (auto const& [owner, type] : std::get<Flocks>(change.value)) {
      out_.push_back(sql_.upsert(row_of(FlockKey{k->ino, owner.session, owner.owner}, type)));
    }
  }
  if (auto const* k = std::get_if<PlocksKey>(&change.key)) {
    for (auto const& [owner, ranges] : std::get<Plocks>(change.value)) {
      ZEST_CHECK(put({.key = PlockKey{k->ino, owner.session, owner.owner}, .value = ranges}));
    }
  }
  return {};
}

Result<void> ChangeBuilder::erase(Key const& key) {
  ZEST_CHECK(check_erase(key));
  auto const all_of = [this](std::string_view table, std::string_view column, Ino ino) {
    run(fmt::format("DELETE FROM {} WHERE {}=?", sql_.table(table), column), {number(ino.value)});
  };
  std::visit(
      Overloaded{
          [](ParentsKey const& /*k*/) {},
          [&](HasEntriesKey const& k) { all_of("edge", "parent", k.ino); },
          [&](FlocksKey const& k) { all_of("flock", "inode", k.ino); },
          [&](PlocksKey const& k) { all_of("plock", "inode", k.ino); },
          [](ChildKey const& /*k*/) {},  // check_erase has refused it
          [&](QuotaKey const& k) {
            if (k.type == QuotaType::directory) {
              out_.push_back(sql_.erase(row_of(key, Value())));
            } else {
              run(fmt::format("UPDATE {} SET max_space=-1,max_inodes=-1 WHERE qtype=? AND qkey=?",
                              sql_.table("user_group_quota")),
                  {number(static_cast<std::uint64_t>(k.type)), number(k.id)});
            }
          },
          [&](auto const& /*k*/) { out_.push_back(sql_.erase(row_of(key, Value()))); },
      },
      key);
  return {};
}

// ---- nodes

namespace {

/// Builds `column=expression,…` with the expressions' parameters.
class Assignments {
 public:
  void set(std::string_view column, std::string_view expression,
           std::vector<Parameter> const& parameters) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", column, expression);
    values.insert(values.end(), parameters.begin(), parameters.end());
  }
  void set(Column const& column) { set(column.name, "?", {column.value}); }

  std::string text;
  std::vector<Parameter> values;
};

constexpr std::int64_t kMicrosPerSec = 1'000'000;

/// raise_time() (engine.h) on a stamp's two columns: the new value where the stored stamp is older
/// or at least a second ahead, otherwise the stored one and a nanosecond.
void raise(Sql const& sql, Assignments& out, std::string_view micros, std::string_view nanos,
           WallTime value) {
  auto const v = to_stored(value);
  auto const take =
      fmt::format("({0}<? OR ({0}=? AND {1}<?) OR {0}>? OR ({0}=? AND {1}>=?))", micros, nanos);
  std::vector<Parameter> const bounds{v.microseconds,
                                      v.microseconds,
                                      v.nanoseconds,
                                      v.microseconds + kMicrosPerSec,
                                      v.microseconds + kMicrosPerSec,
                                      v.nanoseconds};
  auto with = [&bounds](std::int64_t more) {
    auto parameters = bounds;
    parameters.emplace_back(more);
    return parameters;
  };
  if (!sql.mysql()) {
    out.set(micros,
            fmt::format("CASE WHEN {} THEN ? ELSE {} + CASE WHEN {}>=999 THEN 1 ELSE 0 END END",
                        take, micros, nanos),
            with(v.microseconds));
    out.set(nanos,
            fmt::format("CASE WHEN {0} THEN ? WHEN {1}>=999 THEN 0 ELSE {1}+1 END", take, nanos),
            with(v.nanoseconds));
    return;
  }
  // MySQL assigns one column after the other and each sees what those before it have set. So the
  // decision is made once and passed on in the column that comes last: -1 = take the new value,
  // 1000 = carry.
  out.set(nanos,
          fmt::format("CASE WHEN {0} THEN -1 WHEN {1}>=999 THEN 1000 ELSE {1}+1 END", take, nanos),
          bounds);
  out.set(
      micros,
      fmt::format("CASE WHEN {1}=-1 THEN ? WHEN {1}=1000 THEN {0}+1 ELSE {0} END", micros, nanos),
      {v.microseconds});
  out.set(nanos, fmt::format("CASE WHEN {0}=-1 THEN ? WHEN {0}=1000 THEN 0 ELSE {0} END", nanos),
          {v.nanoseconds});
}

}  // namespace

Result<void> ChangeBuilder::update(UpdateNode const& change) {
  ZEST_CHECK(check_fits(change.ino, change.values, change.set));
  Assignments out;
  // What is set and also added to, grown or raised is computed here.
  auto fields = change.set;
  auto values = change.values;
  auto rest = change;
  rest.set = 0;
  auto const both = [&](NodeField field) { return (fields & field) != 0; };
  if (both(kNlink) || both(kLength) || both(kMtime) || both(kCtime)) {
    apply_update(values, rest);
  }
  for (auto const& column : node_columns(values, fields)) {
    out.set(column);
  }
  if (change.add_nlink != 0 && !both(kNlink)) {
    out.set("nlink", "GREATEST(nlink+?,0)", {std::int64_t{change.add_nlink}});
  }
  if (change.grow_length && !both(kLength)) {
    out.set("length", "GREATEST(length,?)", {number(*change.grow_length)});
  }
  if (change.raise_mtime && !both(kMtime)) {
    raise(sql_, out, "mtime", "mtimensec", *change.raise_mtime);
  }
  if (change.raise_ctime && !both(kCtime)) {
    raise(sql_, out, "ctime", "ctimensec", *change.raise_ctime);
  }
  if (out.text.empty()) {
    return {};
  }
  out.values.push_back(number(change.ino.value));
  run(fmt::format("UPDATE {} SET {} WHERE inode=?", sql_.table("node"), out.text),
      std::move(out.values));
  return {};
}

// ---- chunks and slices

void ChangeBuilder::append(AppendSlices const& change) {
  if (change.slices.empty()) {
    return;
  }
  auto const row = row_of(change.key, Value(change.slices));
  auto const ino = number(change.key.ino.value);
  auto const index = number(change.key.index.value);
  if (change.only_existing) {
    run(fmt::format("UPDATE {} SET slices={} WHERE inode=? AND indx=?", sql_.table("chunk"),
                    sql_.concatenated("slices", "?")),
        {row.values.front().value, ino, index});
    return;
  }
  auto const joined = sql_.concatenated(sql_.stored("chunk", "slices"), sql_.fresh("slices"));
  run(sql_.upsert_text(row, "slices=" + joined), {ino, index, row.values.front().value});
}

void ChangeBuilder::replace_prefix(ReplaceChunkPrefix const& change) {
  auto const row = row_of(change.key, Value(change.slices));
  auto const ino = number(change.key.ino.value);
  auto const index = number(change.key.index.value);
  auto const joined =
      sql_.concatenated(sql_.fresh("slices"), sql_.tail_of(sql_.stored("chunk", "slices")));
  run(sql_.upsert_text(row, "slices=" + joined),
      {ino, index, row.values.front().value, number(change.count * kSliceRecordSize + 1)});
  if (change.slices.empty()) {
    // An empty list is no record.
    run(fmt::format("DELETE FROM {} WHERE inode=? AND indx=? AND LENGTH(slices)=0",
                    sql_.table("chunk")),
        {ino, index});
  }
}

void ChangeBuilder::add_slice_ref(AddSliceRef const& change) {
  // A slice without a row stays without one: its objects are left to gc, as by the peer.
  run(fmt::format("UPDATE {} SET refs=refs+? WHERE chunkid=? AND size=?", sql_.table("chunk_ref")),
      {change.delta, number(change.id.value), number(change.size)});
}

}  // namespace zest::meta::sql

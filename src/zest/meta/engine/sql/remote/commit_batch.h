// A commit as one batch of statements: begin; lock and check; change; commit.
//
// Transactions run at READ COMMITTED, where each statement sees what is committed when it starts.
// What a decision hung on is locked first and checked under the lock, so nobody changes it before
// our COMMIT:
//
//   the session    shared, when the commit is fenced: a cleanup that erases it waits, or we see it;
//   nodes          in ascending order, so that two commits never wait for each other: exclusive
//                  where this commit changes the node, otherwise shared;
//   other rows     exclusive, after the nodes.
//
// What is not there cannot be locked. A name that must be absent is inserted plainly, and the
// unique index fails the second of two creators. A set (entries of a directory, locks of a file,
// chunks that are absent) is guarded by its node's exclusive lock, which everybody who adds to it
// takes, shared at least: the peer's clients, too, lock or change the node's row when they create,
// write or take file locks.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/remote/sql_text.h"

namespace zest::meta::sql {

/// The statements of `commit`, none when it has nothing to do. Errors: Fault::bug for a misuse,
/// EINVAL for numbers that the tables cannot hold, Fault::conflict for what can never hold.
Result<std::vector<Statement>> commit_batch(Sql const& sql, Commit const& commit);

/// The first part: fence, locks and conditions.
class ConditionBuilder {
 public:
  ConditionBuilder(Sql const& sql, Commit const& commit, std::vector<Statement>& out)
      : sql_(sql), commit_(commit), out_(out) {}

  Result<void> build();
  /// Names whose absence is left to a plain INSERT instead of a check.
  [[nodiscard]] std::set<Key> const& plain_inserts() const noexcept { return plain_inserts_; }

 private:
  struct NodePlan {
    RowLock lock = RowLock::none;
    bool must_exist = false;
    std::vector<ExpectNode> checks;
    bool must_be_absent = false;
  };

  void find_plain_inserts();
  Result<void> plan_conditions();
  Result<void> plan_changes();
  Result<void> plan(Condition const& condition);
  Result<void> plan_equal(Key const& key, Value const& value);
  void lock_owner_of(Key const& key);
  void want_lock(Ino ino, RowLock lock);
  void check_fence();
  void check_nodes();
  Result<void> check_rows();
  Result<void> check_equal(Key const& key, Value const& value);
  Result<void> check_absent(Key const& key);
  void check_set(std::string_view table, std::string_view where, Ino ino,
                 std::vector<std::vector<Column>> const& members);

  Sql const& sql_;
  Commit const& commit_;
  std::vector<Statement>& out_;
  std::map<Ino, NodePlan> nodes_;
  std::set<Key> plain_inserts_;
  /// Conditions about rows other than nodes.
  std::vector<Condition> rows_;
};

/// The second part.
class ChangeBuilder {
 public:
  ChangeBuilder(Sql const& sql, std::set<Key> plain_inserts, std::vector<Statement>& out)
      : sql_(sql), plain_inserts_(std::move(plain_inserts)), out_(out) {}

  Result<void> add(Change const& change);

 private:
  Result<void> put(Put const& change);
  Result<void> put_set(Put const& change);
  Result<void> erase(Key const& key);
  Result<void> update(UpdateNode const& change);
  void append(AppendSlices const& change);
  void replace_prefix(ReplaceChunkPrefix const& change);
  void add_slice_ref(AddSliceRef const& change);
  void run(std::string text, std::vector<Parameter> parameters) {
    out_.push_back({.text = std::move(text), .parameters = std::move(parameters)});
  }

  Sql const& sql_;
  std::set<Key> plain_inserts_;
  std::vector<Statement>& out_;
};

}  // namespace zest::meta::sql

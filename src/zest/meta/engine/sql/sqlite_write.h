// One write transaction of the writer's connection: conditions, changes, counters.
//
// Nodes are kept in a buffer for the length of the transaction: sixteen files created in one
// directory read and write the directory's row once. Everything else goes to the tables at once.
// Nothing here begins, commits or rolls back: see sqlite_writer.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/sqlite_connection.h"

namespace zest::meta::sqlite {

class WriteTransaction {
 public:
  explicit WriteTransaction(Connection& connection) : connection_(connection) {}
  WriteTransaction(WriteTransaction const&) = delete;
  WriteTransaction& operator=(WriteTransaction const&) = delete;

  /// Checks all conditions before the first change. When it fails and touched() is false, nothing
  /// was changed; when touched() is true the transaction has to be rolled back.
  Result<void> commit(Commit const& commit);

  Result<IdRange> allocate_ids(IdKind kind, std::uint64_t count);
  Result<void> add_usage(Usage delta);
  Result<std::vector<Ino>> add_dir_stats(std::span<std::pair<Ino, DirStat> const> deltas);
  Result<void> add_quota_usage(std::span<std::pair<QuotaKey, Usage> const> deltas);
  Result<void> set_quota(QuotaKey const& key, Quota const& quota);
  Result<std::uint32_t> insert_acl(AclRule const& rule);
  Result<bool> take_lease(Lease lease, std::int64_t now_sec, std::int64_t interval_sec);
  Result<void> initialize(std::string_view setting, Attr const& root,
                          std::optional<Attr> const& trash);
  Result<void> reset();

  /// Writes buffered nodes; before COMMIT.
  Result<void> flush();
  /// Forgets the buffer; at the begin of a transaction.
  void clear() noexcept { nodes_.clear(); }

  [[nodiscard]] bool touched() const noexcept { return touched_; }
  void set_touched(bool touched) noexcept { touched_ = touched; }

 private:
  struct BufferedNode {
    std::optional<Attr> attr;
    bool dirty = false;
  };

  Result<BufferedNode*> node(Ino ino);
  Result<Value> read(Key const& key);
  Result<void> check(Condition const& condition);
  Result<void> apply(Change const& change);
  Result<void> put(Put const& change);
  Result<void> check_fence(SessionId session);
  Result<void> put_quota(QuotaKey const& key, Quota const& quota);
  Result<void> erase_quota(QuotaKey const& key);
  Result<void> put_locks(Put const& change);
  Result<void> put_chunk(ChunkKey const& key, Slices const& slices);
  Result<void> erase(Key const& key);
  Result<void> update(UpdateNode const& change);
  Result<void> append(AppendSlices const& change);
  Result<void> replace_prefix(ReplaceChunkPrefix const& change);
  Result<void> delay(DelaySlices const& change);
  Result<void> set_counter(std::string_view name, std::int64_t value);

  Connection& connection_;
  std::map<Ino, BufferedNode> nodes_;
  bool touched_ = false;
};

}  // namespace zest::meta::sqlite

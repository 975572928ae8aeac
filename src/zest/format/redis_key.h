// Names of a volume's keys, fields and members in Redis (format/02 §3).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/base/types.h"

namespace zest {

/// Builds key names. The prefix is empty for a single server and `{N}` for database N of a cluster,
/// where the braces put all keys into one slot.
class RedisKeys final {
 public:
  explicit RedisKeys(std::string prefix = {}) : prefix_(std::move(prefix)) {}
  /// The prefix of database `number` in a cluster.
  static std::string cluster_prefix(std::uint32_t number);

  [[nodiscard]] std::string const& prefix() const noexcept { return prefix_; }

  [[nodiscard]] std::string node(Ino ino) const;
  [[nodiscard]] std::string edges(Ino parent) const;
  [[nodiscard]] std::string parents(Ino ino) const;
  [[nodiscard]] std::string chunk(Ino ino, ChunkIndex index) const;
  [[nodiscard]] std::string symlink(Ino ino) const;
  [[nodiscard]] std::string xattrs(Ino ino) const;
  [[nodiscard]] std::string flocks(Ino ino) const;
  [[nodiscard]] std::string plocks(Ino ino) const;
  /// The lock keys in which a session holds locks.
  [[nodiscard]] std::string locked(SessionId session) const;
  /// The files that a session keeps open although they have no name any more.
  [[nodiscard]] std::string sustained(SessionId session) const;
  /// A counter by its name in counter_name.h; three of them are lower case in Redis.
  [[nodiscard]] std::string counter(std::string_view name) const;
  /// One of the keys below.
  [[nodiscard]] std::string named(std::string_view name) const;

 private:
  std::string prefix_;
};

/// Keys of which a volume has one, for RedisKeys::named.
namespace redis_name {
constexpr std::string_view kSetting = "setting";
constexpr std::string_view kAllSessions = "allSessions";
constexpr std::string_view kSessionInfos = "sessionInfos";
constexpr std::string_view kDeletedFiles = "delfiles";
constexpr std::string_view kDelayedSlices = "delSlices";
constexpr std::string_view kSliceRefs = "sliceRef";
constexpr std::string_view kDirDataLength = "dirDataLength";
constexpr std::string_view kDirUsedSpace = "dirUsedSpace";
constexpr std::string_view kDirUsedInodes = "dirUsedInodes";
constexpr std::string_view kDirQuota = "dirQuota";
constexpr std::string_view kDirQuotaUsedSpace = "dirQuotaUsedSpace";
constexpr std::string_view kDirQuotaUsedInodes = "dirQuotaUsedInodes";
constexpr std::string_view kUserQuota = "userQuota";
constexpr std::string_view kUserQuotaUsedSpace = "userQuotaUsedSpace";
constexpr std::string_view kUserQuotaUsedInodes = "userQuotaUsedInodes";
constexpr std::string_view kGroupQuota = "groupQuota";
constexpr std::string_view kGroupQuotaUsedSpace = "groupQuotaUsedSpace";
constexpr std::string_view kGroupQuotaUsedInodes = "groupQuotaUsedInodes";
constexpr std::string_view kAcl = "acl";
constexpr std::string_view kTokens = "krbToken";
constexpr std::string_view kDetachedNodes = "detachedNodes";
constexpr std::string_view kChangeLog = "txnLog";
constexpr std::string_view kChangeLogLast = "txnLastLog";
}  // namespace redis_name

/// Member of `delfiles`: a deleted file and the length whose chunks have to go.
struct DeletedFile {
  Ino ino;
  std::uint64_t length = 0;
  friend bool operator==(DeletedFile const&, DeletedFile const&) = default;
};
std::string redis_deleted_file(DeletedFile const& file);
/// Corrupt for other texts.
Result<DeletedFile> parse_redis_deleted_file(std::string_view member);

/// Field of `delSlices`: the compaction that replaced the slices, and when (seconds since 1970).
struct DelayedKey {
  SliceId id;
  std::int64_t deleted_sec = 0;
  friend bool operator==(DelayedKey const&, DelayedKey const&) = default;
};
std::string redis_delayed_key(DelayedKey const& key);
/// Corrupt for other texts.
Result<DelayedKey> parse_redis_delayed_key(std::string_view field);

/// Field of `sliceRef`.
struct SliceKey {
  SliceId id;
  std::uint32_t size = 0;
  friend bool operator==(SliceKey const&, SliceKey const&) = default;
};
std::string redis_slice_key(SliceKey const& key);
/// Corrupt for other texts.
Result<SliceKey> parse_redis_slice_key(std::string_view field);

/// A chunk's key without the prefix, as scans find it.
struct ChunkKey {
  Ino ino;
  ChunkIndex index;
  friend bool operator==(ChunkKey const&, ChunkKey const&) = default;
};
/// Corrupt for other texts.
Result<ChunkKey> parse_redis_chunk_key(std::string_view key);

}  // namespace zest

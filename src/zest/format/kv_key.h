// Keys of a volume in KV engines: TiKV, etcd, FoundationDB, BadgerDB (format/04 §2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/base/types.h"

namespace zest {

/// What a key stands for; beside each kind the fields of KvKey that it uses.
enum class KvKind : std::uint8_t {
  setting,
  counter,            ///< name
  node,               ///< id = inode
  edge,               ///< id = directory, name
  parent,             ///< id = inode, second = parent
  chunk,              ///< id = inode, second = index
  symlink,            ///< id = inode
  xattr,              ///< id = inode, name
  deleted_file,       ///< id = inode, second = length
  flock,              ///< id = inode
  plock,              ///< id = inode
  slice_ref,          ///< id = slice, second = size
  delayed_slices,     ///< id = slice that replaced them, second = seconds since 1970
  session_expire,     ///< id = session
  session_heartbeat,  ///< id = session; clients of long ago
  session_info,       ///< id = session
  sustained,          ///< id = session, second = inode
  dir_stat,           ///< id = directory
  detached,           ///< id = root of an unfinished clone
  dir_quota,          ///< id = directory
  user_quota,         ///< id = uid
  group_quota,        ///< id = gid
  acl,                ///< id = rule
  token,              ///< id = delegation token
  change_log,         ///< id = transaction; second = shard where has_shard (TiKV)
};

/// A key without the volume's prefix.
struct KvKey {
  KvKind kind = KvKind::setting;
  std::uint64_t id = 0;
  std::uint64_t second = 0;
  std::string name;
  bool has_shard = false;
  friend bool operator==(KvKey const&, KvKey const&) = default;
};

/// Inodes are little-endian, all other numbers big-endian.
std::string encode_kv_key(KvKey const& key);

/// Corrupt for every text that encode_kv_key would not make.
Result<KvKey> decode_kv_key(std::string_view bytes);

// The keys that operations need, without the detour.
std::string kv_counter_key(std::string_view name);
std::string kv_node_key(Ino ino);
std::string kv_edge_key(Ino parent, std::string_view name);
std::string kv_parent_key(Ino ino, Ino parent);
std::string kv_chunk_key(Ino ino, ChunkIndex index);
std::string kv_symlink_key(Ino ino);
std::string kv_xattr_key(Ino ino, std::string_view name);
std::string kv_slice_ref_key(SliceId id, std::uint32_t size);

/// What is put before every key: `name` (etcd: with its leading slash, TiKV: without) and the byte
/// 0xFD.
std::string kv_prefix(std::string_view name);

/// The first key behind all that start with `prefix`; nothing when there is none (only 0xFF bytes,
/// or none at all).
std::optional<std::string> kv_prefix_end(std::string_view prefix);

/// The shard of a change-log entry on TiKV; `shards` > 0, all clients of a volume agree on it.
std::uint8_t kv_change_log_shard(std::uint64_t id, std::uint32_t shards) noexcept;

}  // namespace zest

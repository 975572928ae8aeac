// The Lua scripts that run inside the server: atomic, one trip, every key named in KEYS as far as
// it is known before (nodes that an entry leads to are not; they share the hash tag of a cluster).
#pragma once

#include <string_view>
#include <vector>

#include "zest/meta/engine/redis/client.h"

namespace zest::meta::redis {

struct Scripts {
  Scripts();

  /// Conditions, then changes; the program in ARGV is what commit.cc encodes. Returns 0 when done,
  /// −1 when the session is not its client's any more, n when the n-th condition failed.
  Script commit;
  /// Any number of reads with one view; the program is what fetch.cc encodes.
  Script fetch;
  /// A page of a directory: KEYS = entries; ARGV = cursor, wanted, entries a step, "1" for
  /// attributes, what stands in front of inodes in nodes' keys. Returns {cursor, {name, value, …},
  /// {attribute, …}} for each step.
  Script list_dir;
  /// KEYS = the first chunk; ARGV = first index, end, limit, chunks' key up to the index. Returns
  /// {next index, {index, records, …}}.
  Script list_chunks;
  /// KEYS = locked{sid}; ARGV = "{sid}_". Returns the lock keys in which the session has a field.
  Script list_locked;
  /// KEYS = length, space and inodes of directories; ARGV = (inode, length, space, inodes)….
  /// Returns the inodes without a record.
  Script add_dir_stats;
  /// KEYS = limits, space, inodes of directories, users, groups; ARGV = unlimited limits, then
  /// (type, id, space, inodes)….
  Script add_quota_usage;
  /// KEYS = limits, space, inodes; ARGV = id, limits, space, inodes.
  Script set_quota;
  /// KEYS = counter, rules; ARGV = rule. Returns its id.
  Script insert_acl;
  /// KEYS = lease; ARGV = now, interval. Returns 1 when taken.
  Script take_lease;
  /// KEYS = setting, root, trash; ARGV = setting, root, trash or "".
  Script initialize;
  /// KEYS = counters; ARGV = deltas.
  Script add_usage;

  [[nodiscard]] std::vector<std::string_view> texts() const;
};

}  // namespace zest::meta::redis

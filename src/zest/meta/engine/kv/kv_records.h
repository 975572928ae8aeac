// The typed records of a volume in the keys and values of format/04, read and changed through a
// View.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/format/kv_key.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/kv/kv_view.h"

namespace zest::meta::kv {

/// The keys of one volume.
class Layout {
 public:
  /// `prefix` comes before every key; see kv_prefix().
  explicit Layout(std::string prefix) : prefix_(std::move(prefix)) {}

  [[nodiscard]] std::string key(KvKey const& key) const { return prefix_ + encode_kv_key(key); }
  [[nodiscard]] std::string counter(std::string_view name) const {
    return prefix_ + kv_counter_key(name);
  }
  [[nodiscard]] std::string node(Ino ino) const { return prefix_ + kv_node_key(ino); }
  [[nodiscard]] std::string edge(Ino parent, std::string_view name) const {
    return prefix_ + kv_edge_key(parent, name);
  }
  [[nodiscard]] std::string chunk(ChunkKey const& key) const {
    return prefix_ + kv_chunk_key(key.ino, key.index);
  }
  /// All keys that begin with `family`.
  [[nodiscard]] Range all(std::string_view family, std::size_t limit = 1024) const;
  [[nodiscard]] Range edges(Ino dir, std::size_t limit) const { return all(kv_edge_key(dir, ""), limit); }
  [[nodiscard]] Range xattrs(Ino ino, std::size_t limit) const {
    return all(kv_xattr_key(ino, ""), limit);
  }
  /// Of a hard-linked file. More directories than this hold names of a file: nobody has that.
  [[nodiscard]] Range parents(Ino ino) const;
  /// What `key` stands for; corrupt for a key that is none of the format.
  [[nodiscard]] Result<KvKey> parse(std::string_view key) const;
  [[nodiscard]] std::string const& prefix() const noexcept { return prefix_; }

 private:
  std::string prefix_;
};

/// The store's key of a record that is one value there (or, for locks of one owner and for sessions,
/// the value that holds it or is there with it); nothing for sets.
std::optional<std::string> store_key(Layout const& layout, Key const& key);

/// The record, normalized. Corrupt: names the record.
Result<Value> read_record(View& view, Layout const& layout, Key const& key);

/// Checks all conditions and makes all changes of `commit`. Conflict, ESTALE and misuse as
/// Engine::commit; what is returned counts only when nothing is missing from the view.
Result<void> run_commit(View& view, Layout const& layout, Commit const& commit);

/// The 8 bytes at `key` (absent = 0); corrupt names `what`.
Result<std::int64_t> read_counter(View& view, std::string const& key, std::string_view what);

}  // namespace zest::meta::kv

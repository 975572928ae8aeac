#include "zest/format/kv_key.h"

#include <fmt/format.h>

#include "zest/format/endian.h"

namespace zest {

namespace {

std::string inode_key(char family, std::uint64_t ino) {
  std::string out(1, family);
  append_le(out, ino);
  return out;
}

/// A key of the `A` family: all records of an inode stand together.
std::string attribute_key(std::uint64_t ino, char kind) {
  auto out = inode_key('A', ino);
  out.push_back(kind);
  return out;
}

std::string number_key(std::string_view family, std::uint64_t number) {
  std::string out(family);
  append_be(out, number);
  return out;
}

std::string small_key(std::string_view family, std::uint64_t number) {
  std::string out(family);
  append_be(out, static_cast<std::uint32_t>(number));
  return out;
}

/// Keys below `A`: the kind letter stands behind the inode.
std::optional<KvKey> decode_attribute_key(std::string_view bytes) {
  ByteReader reader(bytes.substr(1));
  KvKey key;
  key.id = reader.le<std::uint64_t>();
  auto const letter = reader.be<std::uint8_t>();
  switch (letter) {
    case 'I': key.kind = KvKind::node; break;
    case 'S': key.kind = KvKind::symlink; break;
    case 'D':
    case 'X':
      key.kind = letter == 'D' ? KvKind::edge : KvKind::xattr;
      key.name = reader.rest();
      return reader.failed() || key.name.empty() ? std::nullopt : std::optional(key);
    case 'P':
      key.kind = KvKind::parent;
      key.second = reader.le<std::uint64_t>();
      break;
    case 'C':
      key.kind = KvKind::chunk;
      key.second = reader.be<std::uint32_t>();
      break;
    default: return std::nullopt;
  }
  return reader.finished() ? std::optional(key) : std::nullopt;
}

/// Keys of a one-letter family whose inode is little-endian.
std::optional<KvKey> decode_inode_key(std::string_view bytes, KvKind kind) {
  ByteReader reader(bytes.substr(1));
  KvKey key{.kind = kind};
  key.id = reader.le<std::uint64_t>();
  if (kind == KvKind::deleted_file) {
    key.second = reader.be<std::uint64_t>();
  }
  return reader.finished() ? std::optional(key) : std::nullopt;
}

std::optional<KvKey> decode_session_key(std::string_view bytes) {
  ByteReader reader(bytes.substr(1));
  KvKey key;
  auto const letter = reader.be<std::uint8_t>();
  key.id = reader.be<std::uint64_t>();
  switch (letter) {
    case 'E': key.kind = KvKind::session_expire; break;
    case 'H': key.kind = KvKind::session_heartbeat; break;
    case 'I': key.kind = KvKind::session_info; break;
    case 'S':
      key.kind = KvKind::sustained;
      key.second = reader.le<std::uint64_t>();
      break;
    default: return std::nullopt;
  }
  return reader.finished() ? std::optional(key) : std::nullopt;
}

std::optional<KvKey> decode_quota_key(std::string_view bytes) {
  ByteReader reader(bytes.substr(1));
  KvKey key;
  switch (reader.be<std::uint8_t>()) {
    case 'D':
      key.kind = KvKind::dir_quota;
      key.id = reader.le<std::uint64_t>();
      break;
    case 'U':
      key.kind = KvKind::user_quota;
      key.id = reader.be<std::uint64_t>();
      break;
    case 'G':
      key.kind = KvKind::group_quota;
      key.id = reader.be<std::uint64_t>();
      break;
    default: return std::nullopt;
  }
  return reader.finished() ? std::optional(key) : std::nullopt;
}

std::optional<KvKey> decode_slice_key(std::string_view bytes) {
  ByteReader reader(bytes.substr(1));
  KvKey key;
  if (bytes[0] == 'K') {
    key.kind = KvKind::slice_ref;
    key.id = reader.be<std::uint64_t>();
    key.second = reader.be<std::uint32_t>();
  } else {
    key.kind = KvKind::delayed_slices;
    key.second = reader.be<std::uint64_t>();
    key.id = reader.be<std::uint64_t>();
  }
  return reader.finished() ? std::optional(key) : std::nullopt;
}

std::optional<KvKey> decode_extra_key(std::string_view bytes) {
  KvKey key;
  if (bytes.starts_with("XKD") && bytes.size() == 7) {
    key.kind = KvKind::token;
    key.id = ByteReader(bytes.substr(3)).be<std::uint32_t>();
    return key;
  }
  if (bytes.starts_with("XLOG") && (bytes.size() == 12 || bytes.size() == 13)) {
    ByteReader reader(bytes.substr(4));
    key.kind = KvKind::change_log;
    key.has_shard = bytes.size() == 13;
    key.second = key.has_shard ? reader.be<std::uint8_t>() : 0;
    key.id = reader.be<std::uint64_t>();
    return key;
  }
  return std::nullopt;
}

std::optional<KvKey> decode(std::string_view bytes) {
  if (bytes == "setting") {
    return KvKey{};
  }
  switch (bytes.empty() ? '\0' : bytes[0]) {
    case 'A': return decode_attribute_key(bytes);
    case 'C':
      return bytes.size() < 2 ? std::nullopt
                              : std::optional(KvKey{.kind = KvKind::counter,
                                                    .name = std::string(bytes.substr(1))});
    case 'D': return decode_inode_key(bytes, KvKind::deleted_file);
    case 'F': return decode_inode_key(bytes, KvKind::flock);
    case 'P': return decode_inode_key(bytes, KvKind::plock);
    case 'U': return decode_inode_key(bytes, KvKind::dir_stat);
    case 'N': return decode_inode_key(bytes, KvKind::detached);
    case 'K':
    case 'L': return decode_slice_key(bytes);
    case 'S': return decode_session_key(bytes);
    case 'Q': return decode_quota_key(bytes);
    case 'R':
      return bytes.size() != 5
                 ? std::nullopt
                 : std::optional(KvKey{.kind = KvKind::acl,
                                       .id = ByteReader(bytes.substr(1)).be<std::uint32_t>()});
    case 'X': return decode_extra_key(bytes);
    default: return std::nullopt;
  }
}

}  // namespace

std::string kv_counter_key(std::string_view name) {
  return fmt::format("C{}", name);
}
std::string kv_node_key(Ino ino) {
  return attribute_key(ino.value, 'I');
}
std::string kv_symlink_key(Ino ino) {
  return attribute_key(ino.value, 'S');
}
std::string kv_edge_key(Ino parent, std::string_view name) {
  return attribute_key(parent.value, 'D').append(name);
}
std::string kv_xattr_key(Ino ino, std::string_view name) {
  return attribute_key(ino.value, 'X').append(name);
}

std::string kv_parent_key(Ino ino, Ino parent) {
  auto out = attribute_key(ino.value, 'P');
  append_le(out, parent.value);
  return out;
}

std::string kv_chunk_key(Ino ino, ChunkIndex index) {
  auto out = attribute_key(ino.value, 'C');
  append_be(out, index.value);
  return out;
}

std::string kv_slice_ref_key(SliceId id, std::uint32_t size) {
  auto out = number_key("K", id.value);
  append_be(out, size);
  return out;
}

std::string encode_kv_key(KvKey const& key) {
  std::string out;
  switch (key.kind) {
    case KvKind::setting: return "setting";
    case KvKind::counter: return kv_counter_key(key.name);
    case KvKind::node: return kv_node_key(Ino{key.id});
    case KvKind::edge: return kv_edge_key(Ino{key.id}, key.name);
    case KvKind::parent: return kv_parent_key(Ino{key.id}, Ino{key.second});
    case KvKind::chunk:
      return kv_chunk_key(Ino{key.id}, ChunkIndex{static_cast<std::uint32_t>(key.second)});
    case KvKind::symlink: return kv_symlink_key(Ino{key.id});
    case KvKind::xattr: return kv_xattr_key(Ino{key.id}, key.name);
    case KvKind::deleted_file:
      out = inode_key('D', key.id);
      append_be(out, key.second);
      return out;
    case KvKind::flock: return inode_key('F', key.id);
    case KvKind::plock: return inode_key('P', key.id);
    case KvKind::slice_ref:
      return kv_slice_ref_key(SliceId{key.id}, static_cast<std::uint32_t>(key.second));
    case KvKind::delayed_slices:
      out = number_key("L", key.second);
      append_be(out, key.id);
      return out;
    case KvKind::session_expire: return number_key("SE", key.id);
    case KvKind::session_heartbeat: return number_key("SH", key.id);
    case KvKind::session_info: return number_key("SI", key.id);
    case KvKind::sustained:
      out = number_key("SS", key.id);
      append_le(out, key.second);
      return out;
    case KvKind::dir_stat: return inode_key('U', key.id);
    case KvKind::detached: return inode_key('N', key.id);
    case KvKind::dir_quota: return "Q" + inode_key('D', key.id);
    case KvKind::user_quota: return number_key("QU", key.id);
    case KvKind::group_quota: return number_key("QG", key.id);
    case KvKind::acl: return small_key("R", key.id);
    case KvKind::token: return small_key("XKD", key.id);
    case KvKind::change_log:
      out = "XLOG";
      if (key.has_shard) {
        out.push_back(static_cast<char>(key.second));
      }
      append_be(out, key.id);
      return out;
  }
  return out;
}

Result<KvKey> decode_kv_key(std::string_view bytes) {
  auto key = decode(bytes);
  if (!key) {
    return Error::corrupt(
        fmt::format("a key of {} bytes is none of the volume format", bytes.size()));
  }
  return *std::move(key);
}

std::string kv_prefix(std::string_view name) {
  return fmt::format("{}\xFD", name);
}

std::optional<std::string> kv_prefix_end(std::string_view prefix) {
  auto const last = prefix.find_last_not_of('\xFF');
  if (last == std::string_view::npos) {
    return std::nullopt;
  }
  std::string end(prefix.substr(0, last + 1));
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

std::uint8_t kv_change_log_shard(std::uint64_t id, std::uint32_t shards) noexcept {
  return static_cast<std::uint8_t>((id ^ (id >> 18)) % shards);
}

}  // namespace zest

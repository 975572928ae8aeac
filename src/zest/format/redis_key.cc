#include "zest/format/redis_key.h"

#include <charconv>
#include <concepts>

#include <fmt/format.h>

#include "zest/format/counter_name.h"

namespace zest {

namespace {

/// Parses `{first number}{separator}{second number}` completely.
template <std::integral First, std::integral Second>
bool parse_pair(std::string_view text, char separator, First& first, Second& second) {
  auto const* const end = text.data() + text.size();
  auto const [middle, bad_first] = std::from_chars(text.data(), end, first);
  if (bad_first != std::errc{} || middle == end || *middle != separator) {
    return false;
  }
  auto const [stop, bad_second] = std::from_chars(middle + 1, end, second);
  return bad_second == std::errc{} && stop == end;
}

Error not_a(std::string_view what, std::string_view text) {
  return Error::corrupt(fmt::format("\"{}\" is no {} in Redis", text.substr(0, 64), what));
}

}  // namespace

std::string RedisKeys::cluster_prefix(std::uint32_t number) {
  return fmt::format("{{{}}}", number);
}

std::string RedisKeys::node(Ino ino) const {
  return fmt::format("{}i{}", prefix_, ino.value);
}
std::string RedisKeys::edges(Ino parent) const {
  return fmt::format("{}d{}", prefix_, parent.value);
}
std::string RedisKeys::parents(Ino ino) const {
  return fmt::format("{}p{}", prefix_, ino.value);
}
std::string RedisKeys::chunk(Ino ino, ChunkIndex index) const {
  return fmt::format("{}c{}_{}", prefix_, ino.value, index.value);
}
std::string RedisKeys::symlink(Ino ino) const {
  return fmt::format("{}s{}", prefix_, ino.value);
}
std::string RedisKeys::xattrs(Ino ino) const {
  return fmt::format("{}x{}", prefix_, ino.value);
}
std::string RedisKeys::flocks(Ino ino) const {
  return fmt::format("{}lockf{}", prefix_, ino.value);
}
std::string RedisKeys::plocks(Ino ino) const {
  return fmt::format("{}lockp{}", prefix_, ino.value);
}
std::string RedisKeys::locked(SessionId session) const {
  return fmt::format("{}locked{}", prefix_, session.value);
}
std::string RedisKeys::sustained(SessionId session) const {
  return fmt::format("{}session{}", prefix_, session.value);
}

std::string RedisKeys::counter(std::string_view name) const {
  if (name == kNextInode) {
    return prefix_ + "nextinode";
  }
  if (name == kNextChunk) {
    return prefix_ + "nextchunk";
  }
  if (name == kNextSession) {
    return prefix_ + "nextsession";
  }
  return named(name);
}

std::string RedisKeys::named(std::string_view name) const {
  return fmt::format("{}{}", prefix_, name);
}

std::string redis_deleted_file(DeletedFile const& file) {
  return fmt::format("{}:{}", file.ino.value, file.length);
}

Result<DeletedFile> parse_redis_deleted_file(std::string_view member) {
  DeletedFile file;
  if (!parse_pair(member, ':', file.ino.value, file.length)) {
    return not_a("deleted file", member);
  }
  return file;
}

std::string redis_delayed_key(DelayedKey const& key) {
  return fmt::format("{}_{}", key.id.value, key.deleted_sec);
}

Result<DelayedKey> parse_redis_delayed_key(std::string_view field) {
  DelayedKey key;
  if (!parse_pair(field, '_', key.id.value, key.deleted_sec)) {
    return not_a("delayed slice list", field);
  }
  return key;
}

std::string redis_slice_key(SliceKey const& key) {
  return fmt::format("k{}_{}", key.id.value, key.size);
}

Result<SliceKey> parse_redis_slice_key(std::string_view field) {
  SliceKey key;
  if (!field.starts_with('k') || !parse_pair(field.substr(1), '_', key.id.value, key.size)) {
    return not_a("slice", field);
  }
  return key;
}

Result<ChunkKey> parse_redis_chunk_key(std::string_view key) {
  ChunkKey chunk;
  if (!key.starts_with('c') ||
      !parse_pair(key.substr(1), '_', chunk.ino.value, chunk.index.value)) {
    return not_a("chunk", key);
  }
  return chunk;
}

}  // namespace zest

#include "zest/format/usage.h"

#include <charconv>

#include <fmt/format.h>

#include "zest/format/endian.h"

namespace zest {

namespace {

void append_number(std::string& out, std::int64_t value) {
  append_be(out, static_cast<std::uint64_t>(value));
}

std::int64_t read_number(ByteReader& reader) {
  return static_cast<std::int64_t>(reader.be<std::uint64_t>());
}

Error wrong_size(std::string_view what, std::size_t size, std::size_t wanted) {
  return Error::corrupt(fmt::format("{} has {} bytes, not {}", what, size, wanted));
}

}  // namespace

std::string encode_dir_stat(DirStat const& stat) {
  std::string out;
  append_number(out, stat.length);
  append_number(out, stat.space);
  append_number(out, stat.inodes);
  return out;
}

Result<DirStat> decode_dir_stat(std::string_view bytes) {
  if (bytes.size() != 24) {
    return wrong_size("a directory's usage", bytes.size(), 24);
  }
  ByteReader reader(bytes);
  DirStat stat;
  stat.length = read_number(reader);
  stat.space = read_number(reader);
  stat.inodes = read_number(reader);
  return stat;
}

std::string encode_quota_limits(Quota const& quota) {
  std::string out;
  append_number(out, quota.max_space);
  append_number(out, quota.max_inodes);
  return out;
}

std::string encode_quota(Quota const& quota) {
  auto out = encode_quota_limits(quota);
  append_number(out, quota.used_space);
  append_number(out, quota.used_inodes);
  return out;
}

Result<Quota> decode_quota_limits(std::string_view bytes) {
  if (bytes.size() != 16) {
    return wrong_size("a quota's limits", bytes.size(), 16);
  }
  ByteReader reader(bytes);
  Quota quota;
  quota.max_space = read_number(reader);
  quota.max_inodes = read_number(reader);
  return quota;
}

Result<Quota> decode_quota(std::string_view bytes) {
  if (bytes.size() != 32) {
    return wrong_size("a quota", bytes.size(), 32);
  }
  ZEST_TRY(auto quota, decode_quota_limits(bytes.substr(0, 16)));
  ByteReader reader(bytes.substr(16));
  quota.used_space = read_number(reader);
  quota.used_inodes = read_number(reader);
  return quota;
}

Result<std::int64_t> decode_decimal(std::string_view text) {
  std::int64_t value = 0;
  auto const* const end = text.data() + text.size();
  auto const [stop, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc{} || stop != end) {
    return Error::corrupt(
        fmt::format("\"{}\" is no decimal number of 64 bits", text.substr(0, 64)));
  }
  return value;
}

}  // namespace zest

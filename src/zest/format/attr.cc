#include "zest/format/attr.h"

#include <fmt/format.h>

#include "zest/format/endian.h"

namespace zest {

namespace {

constexpr std::size_t kMandatorySize = 63;

void append_time(std::string& out, WallTime time) {
  append_be(out, static_cast<std::uint64_t>(time.sec));
  append_be(out, time.nsec);
}

WallTime read_time(ByteReader& reader) {
  WallTime time;
  time.sec = static_cast<std::int64_t>(reader.be<std::uint64_t>());
  time.nsec = reader.be<std::uint32_t>();
  return time;
}

}  // namespace

std::optional<FileType> file_type_from_code(std::uint8_t code) noexcept {
  if (code < static_cast<std::uint8_t>(FileType::regular) ||
      code > static_cast<std::uint8_t>(FileType::socket)) {
    return std::nullopt;
  }
  return static_cast<FileType>(code);
}

std::string encode_attr(Attr const& attr) {
  std::string out;
  out.reserve(81);
  out.push_back(static_cast<char>(attr.flags));
  auto const type = static_cast<std::uint32_t>(attr.type);
  append_be(out, static_cast<std::uint16_t>((type << 12) | (attr.mode & 0x0FFFU)));
  append_be(out, attr.uid);
  append_be(out, attr.gid);
  append_time(out, attr.atime);
  append_time(out, attr.mtime);
  append_time(out, attr.ctime);
  append_be(out, attr.nlink);
  append_be(out, attr.length);
  append_be(out, attr.rdev);
  append_be(out, attr.parent.value);
  if (attr.access_acl != 0 || attr.default_acl != 0) {
    append_be(out, attr.access_acl);
    append_be(out, attr.default_acl);
  }
  if (attr.tier != 0) {
    out.push_back(static_cast<char>(attr.tier));
  }
  // The peer allocates one byte more than it fills; equal bytes keep comparisons of whole records
  // stable.
  out.push_back('\0');
  return out;
}

Result<Attr> decode_attr(std::string_view bytes) {
  if (bytes.size() < kMandatorySize) {
    return Error::corrupt(
        fmt::format("an inode record has {} bytes, fewer than {}", bytes.size(), kMandatorySize));
  }
  ByteReader reader(bytes);
  Attr attr;
  attr.flags = reader.be<std::uint8_t>();
  auto const type_and_mode = reader.be<std::uint16_t>();
  auto const type = file_type_from_code(static_cast<std::uint8_t>(type_and_mode >> 12));
  if (!type) {
    return Error::corrupt(
        fmt::format("an inode record has the unknown type {}", type_and_mode >> 12));
  }
  attr.type = *type;
  attr.mode = type_and_mode & 0x0FFF;
  attr.uid = reader.be<std::uint32_t>();
  attr.gid = reader.be<std::uint32_t>();
  attr.atime = read_time(reader);
  attr.mtime = read_time(reader);
  attr.ctime = read_time(reader);
  attr.nlink = reader.be<std::uint32_t>();
  attr.length = reader.be<std::uint64_t>();
  if (attr.length > kFileSizeMax) {
    return Error::corrupt(fmt::format("an inode record has the impossible length {}", attr.length));
  }
  attr.rdev = reader.be<std::uint32_t>();
  if (reader.remaining() >= 8) {
    attr.parent.value = reader.be<std::uint64_t>();
  }
  if (reader.remaining() >= 8) {
    attr.access_acl = reader.be<std::uint32_t>();
    attr.default_acl = reader.be<std::uint32_t>();
  }
  if (reader.remaining() >= 1) {
    attr.tier = reader.be<std::uint8_t>();
  }
  return attr;
}

}  // namespace zest

#include "zest/format/entry.h"

#include <fmt/format.h>

#include "zest/format/attr.h"
#include "zest/format/endian.h"

namespace zest {

std::string encode_entry(Entry const& entry) {
  std::string out;
  out.reserve(9);
  out.push_back(static_cast<char>(entry.type));
  append_be(out, entry.ino.value);
  return out;
}

Result<Entry> decode_entry(std::string_view bytes) {
  if (bytes.size() != 9) {
    return Error::corrupt(fmt::format("a directory entry has {} bytes, not 9", bytes.size()));
  }
  ByteReader reader(bytes);
  auto const code = reader.be<std::uint8_t>();
  auto const type = file_type_from_code(code);
  if (!type) {
    return Error::corrupt(fmt::format("a directory entry has the unknown type {}", code));
  }
  Ino const ino{reader.be<std::uint64_t>()};
  if (!ino) {
    return Error::corrupt("a directory entry names inode 0");
  }
  return Entry{.type = *type, .ino = ino};
}

}  // namespace zest

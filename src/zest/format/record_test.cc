// Goal: attr, entry, counters have the peer's bytes (worked examples of format/01 §13), and hostile
// bytes are errors.
#include <gtest/gtest.h>

#include "zest/format/attr.h"
#include "zest/format/endian.h"
#include "zest/format/entry.h"
#include "zest/format/test_bytes.h"

namespace zest {
namespace {

// The hard-linked file of format/01 §13.1.
constexpr char const* kPlainAttr =
    "00 11a4 00000000 00000000 000000006b03e186 389667fa 000000006b03e186 39df93bb "
    "000000006b03e186 3ac37a88"
    "00000002 0000000000000003 00000000 0000000000000000 00";

TEST(Attr, DecodesAndEncodesThePeersPlainRecord) {
  auto const bytes = from_hex(kPlainAttr);
  ASSERT_EQ(bytes.size(), 72U);
  auto const attr = decode_attr(bytes);
  ASSERT_TRUE(attr.ok());
  EXPECT_EQ(attr->type, FileType::regular);
  EXPECT_EQ(attr->mode, 0644);
  EXPECT_EQ(attr->atime, (WallTime{1795416454, 949381114}));
  EXPECT_EQ(attr->nlink, 2U);
  EXPECT_EQ(attr->length, 3U);
  EXPECT_EQ(attr->parent, Ino{0});
  EXPECT_EQ(to_hex(encode_attr(*attr)), to_hex(bytes));
}

TEST(Attr, FieldsHaveTheirOffsets) {
  Attr const attr{.flags = 0x21,
                  .type = FileType::char_device,
                  .mode = 04755,
                  .uid = 0x01020304,
                  .gid = 0x05060708,
                  .atime = {-1, 1},
                  .mtime = {2, 3},
                  .ctime = {4, 5},
                  .nlink = 6,
                  .length = 7,
                  .rdev = 8,
                  .parent = Ino{9}};
  EXPECT_EQ(to_hex(encode_attr(attr)),
            "2169ed0102030405060708ffffffffffffffff000000010000000000000002000000030000000000000004"
            "0000000500000006"
            "000000000000000700000008000000000000000900");
  auto const bytes = encode_attr(attr);
  EXPECT_EQ(bytes.substr(kAttrNlinkOffset, 4), from_hex("00000006"));
  EXPECT_EQ(bytes.substr(kAttrLengthOffset, 8), from_hex("0000000000000007"));
  EXPECT_EQ(bytes.substr(kAttrParentOffset, 8), from_hex("0000000000000009"));
}

TEST(Attr, SizesFollowAclAndTier) {
  Attr attr;
  EXPECT_EQ(encode_attr(attr).size(), 72U);
  attr.tier = 2;
  EXPECT_EQ(encode_attr(attr).size(), 73U);
  EXPECT_EQ(*decode_attr(encode_attr(attr)), attr);
  attr.default_acl = 7;
  EXPECT_EQ(encode_attr(attr).size(), 81U);
  EXPECT_EQ(*decode_attr(encode_attr(attr)), attr);
  attr.tier = 0;
  attr.access_acl = 3;
  EXPECT_EQ(encode_attr(attr).size(), 80U);
  EXPECT_EQ(*decode_attr(encode_attr(attr)), attr);
}

TEST(Attr, ShortFormsOfOldClientsDecode) {
  auto const bytes = from_hex(kPlainAttr);
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    EXPECT_EQ(decode_attr(bytes.substr(0, size)).ok(), size >= 63) << size;
  }
  Attr attr;
  attr.parent = Ino{5};
  EXPECT_EQ(decode_attr(encode_attr(attr).substr(0, 63))->parent, Ino{0});
  EXPECT_EQ(decode_attr(encode_attr(attr).substr(0, 71))->parent, Ino{5});
}

TEST(Attr, ImpossibleRecordsAreCorrupt) {
  auto bytes = from_hex(kPlainAttr);
  bytes[1] = '\x01';  // type 0
  EXPECT_EQ(decode_attr(bytes).error().fault(), Fault::corrupt);
  bytes[1] = '\x81';  // type 8
  EXPECT_EQ(decode_attr(bytes).error().fault(), Fault::corrupt);
  bytes = from_hex(kPlainAttr);
  bytes[kAttrLengthOffset] = '\x7f';
  EXPECT_EQ(decode_attr(bytes).error().fault(), Fault::corrupt);
}

TEST(Entry, HasThePeersBytes) {
  auto const bytes = from_hex("02 7fffffff10000001");
  auto const entry = decode_entry(bytes);
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(*entry, (Entry{FileType::directory, Ino{kTrashIno.value + 1}}));
  EXPECT_EQ(encode_entry(*entry), bytes);
}

TEST(Entry, ImpossibleEntriesAreCorrupt) {
  for (auto const* digits : {"", "01", "01 00000000000002", "01 0000000000000002 00",
                             "00 0000000000000002", "08 0000000000000002", "01 0000000000000000"}) {
    auto const entry = decode_entry(from_hex(digits));
    ASSERT_FALSE(entry.ok()) << digits;
    EXPECT_EQ(entry.error().fault(), Fault::corrupt) << digits;
  }
}

TEST(Counter, ValuesAreLittleEndianAndTimesBigEndian) {
  EXPECT_EQ(to_hex(encode_counter_le(1026)), "0204000000000000");
  EXPECT_EQ(*decode_counter_le(from_hex("0050600400000000")), 0x04605000);
  EXPECT_EQ(*decode_counter_le(encode_counter_le(-1)), -1);
  EXPECT_EQ(to_hex(encode_time_be(0x6b03e1c2)), "000000006b03e1c2");
  EXPECT_EQ(*decode_time_be(encode_time_be(-5)), -5);
  EXPECT_FALSE(decode_counter_le(from_hex("00")).ok());
  EXPECT_FALSE(decode_time_be(from_hex("000000000000000000")).ok());
}

TEST(ByteReader, StaysFailedAfterTheFirstShortRead) {
  ByteReader reader(std::string_view("\1\2\3", 3));
  EXPECT_EQ(reader.be<std::uint16_t>(), 0x0102);
  EXPECT_EQ(reader.be<std::uint32_t>(), 0U);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.be<std::uint8_t>(), 0U);
  EXPECT_FALSE(reader.finished());
}

TEST(FileType, BecomesModeBits) {
  EXPECT_EQ(to_mode_bits(FileType::regular), 0100000U);
  EXPECT_EQ(to_mode_bits(FileType::directory), 0040000U);
  EXPECT_EQ(to_mode_bits(FileType::symlink), 0120000U);
  EXPECT_EQ(to_mode_bits(FileType::fifo), 0010000U);
  EXPECT_EQ(to_mode_bits(FileType::block_device), 0060000U);
  EXPECT_EQ(to_mode_bits(FileType::char_device), 0020000U);
  EXPECT_EQ(to_mode_bits(FileType::socket), 0140000U);
}

}  // namespace
}  // namespace zest

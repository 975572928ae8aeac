// Goal: checksums, cache files and encrypted objects are laid out as the peer does it.
#include <gtest/gtest.h>

#include <random>

#include "zest/format/cache_block.h"
#include "zest/format/crc32c.h"
#include "zest/format/sealed_block.h"
#include "zest/format/test_bytes.h"

namespace zest {
namespace {

TEST(Crc32c, OfPublishedVectors) {
  // RFC 3720 B.4 and the check value of the CRC catalogue.
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c(as_bytes(std::string(32, '\0'))), 0x8A9136AAU);
  EXPECT_EQ(crc32c(as_bytes(std::string(32, '\xFF'))), 0x62A8AB43U);
  EXPECT_EQ(crc32c({}), 0U);
  // format/07 §1.5.
  EXPECT_EQ(crc32c(as_bytes("x\n")), 3100526805U);
}

TEST(Crc32c, BothWaysAgreeAndContinue) {
  std::mt19937 random(1);
  std::string text(1000, '\0');
  for (auto& c : text) {
    c = static_cast<char>(random());
  }
  for (std::size_t size = 0; size < 100; ++size) {
    for (std::size_t start = 0; start < 9; ++start) {
      auto const data = as_bytes(text).subspan(start, size);
      EXPECT_EQ(crc32c(data), crc32c_portable(data)) << size << " at " << start;
      EXPECT_EQ(crc32c(data.subspan(size / 3), crc32c(data.first(size / 3))), crc32c(data)) << size;
    }
  }
}

TEST(CacheFile, ChecksumsAreThePeers) {
  EXPECT_EQ(to_hex(cache_checksums(as_bytes("hello\n"))), "353dd8be");
  EXPECT_EQ(cache_checksums_size(4U << 20), 512U);
  EXPECT_EQ(cache_checksums(as_bytes(std::string(kChecksumUnit + 1, 'x'))).size(), 8U);
  EXPECT_EQ(cache_checksums_size(0), 0U);
}

TEST(CacheFile, VerifiesWholeUnits) {
  std::string block(3 * kChecksumUnit + 5, 'x');
  auto const checksums = cache_checksums(as_bytes(block));
  EXPECT_TRUE(verify_cache_checksums(as_bytes(block), 0, checksums).ok());
  auto const tail = as_bytes(block).subspan(2 * kChecksumUnit);
  EXPECT_TRUE(verify_cache_checksums(tail, 2, checksums).ok());
  EXPECT_FALSE(verify_cache_checksums(tail, 3, checksums).ok()) << "too few checksums";
  block[2 * kChecksumUnit] ^= 1;
  EXPECT_FALSE(verify_cache_checksums(tail, 2, checksums).ok());
  EXPECT_TRUE(verify_cache_checksums(as_bytes(block).first(2 * kChecksumUnit), 0, checksums).ok());
}

TEST(CacheFile, LayoutFollowsTheSize) {
  EXPECT_EQ(*cache_file_layout(6, 6), (CacheFileLayout{6, 0, 0}));
  EXPECT_EQ(*cache_file_layout(10, 6), (CacheFileLayout{6, 4, 0}));
  EXPECT_EQ(*cache_file_layout(100036, 100000), (CacheFileLayout{100000, 16, 20}));
  EXPECT_EQ(*cache_file_layout(100018, 100000), (CacheFileLayout{100000, 0, 18}));
  EXPECT_FALSE(cache_file_layout(5, 6).ok());
  EXPECT_FALSE(cache_file_layout(100008, 100000).ok()) << "less than all checksums";
  EXPECT_FALSE(cache_file_layout(~std::uint64_t{0}, 6).ok());
}

TEST(StagingFooter, IsThePeers) {
  auto const with = encode_staging_footer(1, true);
  EXPECT_EQ(to_hex(with), "4653001082a474696572cc01a3706164c4020000");
  auto const without = encode_staging_footer(2, false);
  EXPECT_EQ(to_hex(without), "4653000e82a474696572cc02a3706164c400");
  EXPECT_EQ(*decode_staging_footer(with), 1);
  EXPECT_EQ(*decode_staging_footer(without), 2);
  EXPECT_EQ(*decode_staging_footer(encode_staging_footer(9, true)), 0) << "unknown tiers";
}

TEST(StagingFooter, OthersAreCorrupt) {
  auto const footer = encode_staging_footer(1, true);
  for (std::size_t size = 0; size < footer.size(); ++size) {
    EXPECT_FALSE(decode_staging_footer(footer.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(decode_staging_footer(footer + '\0').ok());
  for (std::size_t i : {0U, 1U, 2U, 3U, 4U, 5U, 10U, 12U, 16U}) {
    auto bad = footer;
    bad[i] = static_cast<char>(bad[i] ^ 0x40);
    EXPECT_FALSE(decode_staging_footer(bad).ok()) << i;
  }
}

TEST(SealedBlock, RoundTrips) {
  auto const object =
      build_seal_header(std::string(256, 'k'), "nonce-of-12b") + std::string(20, 's');
  EXPECT_EQ(object.size(), 3U + 256 + 12 + 20);
  EXPECT_EQ(to_hex(object.substr(0, 3)), "01000c");
  auto const block = parse_sealed_block(object);
  ASSERT_TRUE(block.ok());
  EXPECT_EQ(block->wrapped_key, std::string(256, 'k'));
  EXPECT_EQ(block->nonce, "nonce-of-12b");
  EXPECT_EQ(block->sealed, std::string(20, 's'));
  for (std::size_t size = 0; size < object.size() - 4; ++size) {
    EXPECT_FALSE(parse_sealed_block(object.substr(0, size)).ok()) << size;
  }
}

}  // namespace
}  // namespace zest

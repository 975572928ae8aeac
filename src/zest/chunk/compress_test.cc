#include "zest/chunk/compress.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "zest/object/testing/expect.h"

namespace zest {
namespace {

std::string hex(ByteView bytes) {
  std::string text;
  for (auto const b : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text += kDigits[static_cast<std::size_t>(b) >> 4];
    text += kDigits[static_cast<std::size_t>(b) & 15];
  }
  return text;
}

std::vector<std::byte> compressed(Compression kind, std::string_view text) {
  std::vector<std::byte> out(compress_bound(kind, text.size()));
  auto const n = compress(kind, as_bytes(text), out);
  EXPECT_TRUE(n.ok());
  out.resize(*n);
  return out;
}

// Goal: the bytes that the peer was seen to store (format/07 §1.1).
TEST(Compress, StoredBytesOfThePeer) {
  EXPECT_EQ(hex(compressed(Compression::lz4, "hello\n")), "6068656c6c6f0a");
  EXPECT_EQ(hex(compressed(Compression::lz4, std::string(100, 'x'))), "1f7801004b507878787878");
  std::string text;
  while (text.size() < 100'000) {
    text += "a repeating text, ";
  }
  text.resize(100'000);
  EXPECT_TRUE(hex(compressed(Compression::zstd, text)).starts_with("28b52ffda0a0860100"));
}

TEST(Compress, RoundTripAndWrongSize) {
  for (auto const kind : {Compression::lz4, Compression::zstd}) {
    for (std::size_t const size : {std::size_t{1}, std::size_t{6}, std::size_t{100'000}}) {
      std::string const text(size, 'y');
      auto const stored = compressed(kind, text);
      std::vector<std::byte> back(size);
      ASSERT_OK(decompress(kind, stored, back));
      EXPECT_EQ(as_text(back), text);
      std::vector<std::byte> longer(size + 1);
      ASSERT_ERRC(decompress(kind, stored, longer), Errc::io);
      std::vector<std::byte> shorter(size - 1);
      ASSERT_ERRC(decompress(kind, stored, shorter), Errc::io);
      ASSERT_ERRC(decompress(kind, ByteView(stored).first(stored.size() - 1), back), Errc::io);
    }
  }
}

TEST(Compress, Names) {
  EXPECT_EQ(*parse_compression(""), Compression::none);
  EXPECT_EQ(*parse_compression("none"), Compression::none);
  EXPECT_EQ(*parse_compression("lz4"), Compression::lz4);
  EXPECT_EQ(*parse_compression("zstd"), Compression::zstd);
  ASSERT_ERRC(parse_compression("gzip"), Errc::inval);
}

}  // namespace
}  // namespace zest

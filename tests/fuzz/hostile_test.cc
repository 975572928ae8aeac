// Goal: no bytes make a decoder crash, loop or return a value that does not survive encoding.
// Method: every truncation and many seeded mutations of real records, and noise, through each
// decoder; the decoders abort on a broken value. The fuzz targets beside this file search further.
#include <gtest/gtest.h>

#include <random>

#include "tests/fuzz/decoders.h"
#include "zest/format/test_bytes.h"

namespace zest {
namespace {

constexpr std::string_view kSetting =
    R"({"Name":"golden","UUID":"6c1d9d2e-0f39-4c4e-a7a4-58b1cbdb1a41","Storage":"file","Tiers":{"0":{"ID":0,)"
    R"("StorageClass":"","Tag":""}},"Bucket":"/b\u003c/","SecretKey":"ikqaIS5hXaspZsI8D4/tucCGVRyRSViagfCQ/YvITraV",)"
    R"("BlockSize":4096,"KeyEncrypted":true,"TrashDays":1,"MetaVersion":1,"MinClientVersion":"1.1.0-A"})";
constexpr std::string_view kSession =
    R"({"Version":"1.4.1","HostName":"h","IPAddrs":["192.0.2.1"],"MountPoint":"/m","MountTime":"t","ProcessID":30779})";

/// Records of every kind; each goes through every decoder, since a key may hold any value after a
/// mistake.
std::vector<std::string> samples() {
  return {
      from_hex("00 11a4 00000000 00000000 000000006b03e186 389667fa 000000006b03e186 39df93bb "
               "000000006b03e186 3ac37a88"
               "00000002 0000000000000003 00000000 0000000000000000 00000001 00000002 03 00"),
      from_hex("02 7fffffff10000001"),
      from_hex("00000000 0000000000000001 00000006 00000000 00000006 00000003 0000000000000000 "
               "00000000 00000000 000000c2"
               "00100000 0000000000000009 04000000 00000064 03000000"),
      from_hex("0000000000000001 000249f0 0000000000000002 000003e8"),
      from_hex("00000001 00007e75 0000000000000005 000000000000000e 00000000 00007e75 "
               "0000000000000064 7fffffffffffffff"),
      from_hex("0000000000000001 8f8efb9e273c57b2 57"),
      from_hex("0000000000000001 a6a116722bd71501 00000018 00000001 00006dd5 0000000000000005 "
               "000000000000000e"),
      from_hex("0006 0004 0006 0004 00000001 000003e8 0006 00000001 000007d0 0004"),
      from_hex("02000000 01000600ffffffff 02000600e8030000 04000400ffffffff 08000400d0070000 "
               "10000600ffffffff"
               "20000400ffffffff"),
      from_hex("0000000004600006 0000000004604000 0000000000000005 0000000000000001"),
      std::string(kSetting),
      std::string(kSession),
      from_hex("41 0200000000000000 43 00000001"),
      from_hex("41 0100000000000000 44 61"),
      from_hex("4c 0000000000000005 0000000000000002"),
      from_hex("5353 0000000000000001 0200000000000000"),
      from_hex("584c4f47 3f 0000000000000001"),
      "1_05EA9D7256A3F15C",
      "k10_5",
      "*3\r\n$2\r\nab\r\n:7\r\n%1\r\n+k\r\n_\r\n>1\r\n+p\r\n-ERR x\r\n",
      "redis://user:p%40w@master,[::1]:26379,h2/3?read-timeout=1m30s&db=4",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      "HTTP/1.0 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
      "https://u:p@[::1]:9000/a%20b?c=d#e",
      "12:345",
      "chunks/1/1234/1234567_0_4194304",
      "chunks/87/1/1234567_0_4194304",
      "http://h/b-%02d%%/",
      "1.10.3-beta1+build",
      "1027,s%25%2Cx",
      "2026-11-23-06",
      "1-5-name",
      from_hex("00000006 68656c6c6f0a 353dd8be 4653001082a474696572cc01a3706164c4020000"),
      from_hex("4653000e82a474696572cc02a3706164c400"),
      from_hex("0002 02 6b6b 6e6e 73737373737373737373737373737373"),
  };
}

TEST(Hostile, EveryTruncation) {
  for (auto const& sample : samples()) {
    for (auto const& decoder : decoders()) {
      for (std::size_t size = 0; size <= sample.size(); ++size) {
        decoder.run(sample.substr(0, size));
      }
    }
  }
}

TEST(Hostile, SeededMutations) {
  constexpr std::uint32_t kRounds = 2000;
  for (auto const& sample : samples()) {
    for (std::uint32_t seed = 0; seed < kRounds; ++seed) {
      SCOPED_TRACE(seed);
      std::mt19937 random(seed);
      auto bytes = sample;
      for (auto count = 1 + random() % 4; count > 0; --count) {
        auto const at = random() % (bytes.size() + 1);
        constexpr std::string_view kEdges("\x00\x01\x7f\x80\xff\"{}[]_-/%0", 16);
        auto const byte =
            random() % 2 == 0 ? static_cast<char>(random()) : kEdges[random() % kEdges.size()];
        switch (random() % 4) {
          case 0: bytes.insert(at, 1, byte); break;
          case 1: bytes.erase(at, 1 + random() % 3); break;
          case 2:
            bytes.insert(at, bytes.substr(random() % (bytes.size() + 1), random() % 30));
            break;
          default:
            bytes.resize(std::max<std::size_t>(bytes.size(), at + 1));
            bytes[at] = byte;
            break;
        }
      }
      for (auto const& decoder : decoders()) {
        decoder.run(bytes);
      }
    }
  }
}

TEST(Hostile, Noise) {
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    std::string bytes(random() % 200, '\0');
    for (auto& byte : bytes) {
      byte = static_cast<char>(random());
    }
    for (auto const& decoder : decoders()) {
      decoder.run(bytes);
    }
  }
}

}  // namespace
}  // namespace zest

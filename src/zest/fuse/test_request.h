// For tests: requests as bytes, the way the kernel lays them out.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "zest/base/bytes.h"
#include "zest/fuse/kernel_abi.h"

namespace zest::fuse::testing {

template <class T>
std::string bytes_of(T const& value) {
  return std::string(reinterpret_cast<char const*>(&value), sizeof value);
}

/// A request on node 7 by uid 1000, gid 100, pid 42, with its length field set.
inline std::string make_request(std::uint32_t opcode, std::string_view body) {
  fuse_in_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + body.size());
  header.opcode = opcode;
  header.unique = 10;
  header.nodeid = 7;
  header.uid = 1000;
  header.gid = 100;
  header.pid = 42;
  return bytes_of(header) + std::string(body);
}

/// Text with its terminating zero.
inline std::string zero_terminated(std::string_view text) {
  return std::string(text) + '\0';
}

}  // namespace zest::fuse::testing

#include "zest/meta/engine/kv/etcd/proto.h"

namespace zest::meta::kv::etcd {

namespace {

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

}  // namespace

void ProtoWriter::varint(std::uint64_t value) {
  while (value >= 0x80) {
    out_.push_back(static_cast<char>((value & 0x7FU) | 0x80U));
    value >>= 7U;
  }
  out_.push_back(static_cast<char>(value));
}

void ProtoWriter::tag(std::uint32_t field, std::uint32_t wire_type) {
  varint(field << 3U | wire_type);
}

ProtoWriter& ProtoWriter::number(std::uint32_t field, std::uint64_t value) {
  return value == 0 ? *this : chosen_number(field, value);
}

ProtoWriter& ProtoWriter::chosen_number(std::uint32_t field, std::uint64_t value) {
  tag(field, kVarint);
  varint(value);
  return *this;
}

ProtoWriter& ProtoWriter::bytes(std::uint32_t field, std::string_view value) {
  return value.empty() ? *this : chosen_bytes(field, value);
}

ProtoWriter& ProtoWriter::chosen_bytes(std::uint32_t field, std::string_view value) {
  tag(field, kBytes);
  varint(value.size());
  out_.append(value);
  return *this;
}

ProtoWriter& ProtoWriter::message(std::uint32_t field, ProtoWriter const& value) {
  return chosen_bytes(field, value.out_);
}

bool ProtoReader::varint(std::uint64_t& value) noexcept {
  value = 0;
  for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    auto const byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) {
      return true;
    }
  }
  return false;
}

bool ProtoReader::next() noexcept {
  if (rest_.empty()) {
    return false;
  }
  std::uint64_t tag = 0;
  if (!varint(tag) || tag >> 3U == 0 || tag >> 3U > UINT32_MAX) {
    return fail();
  }
  field_ = static_cast<std::uint32_t>(tag >> 3U);
  number_ = 0;
  bytes_ = {};
  std::uint64_t size = 0;
  switch (tag & 7U) {
    case kVarint: return varint(number_) || fail();
    case kBytes:
      if (!varint(size)) {
        return fail();
      }
      break;
    case kFixed64: size = 8; break;
    case kFixed32: size = 4; break;
    default: return fail();
  }
  if (size > rest_.size()) {
    return fail();
  }
  if ((tag & 7U) == kBytes) {
    bytes_ = rest_.substr(0, size);
  }
  rest_.remove_prefix(size);
  return true;
}

}  // namespace zest::meta::kv::etcd

// The wire format of Protocol Buffers, as much as etcd's messages need: varints, and fields that
// are bytes. Generated code and its library are not worth it for a dozen messages (docs/decisions:
// the etcd client).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zest::meta::kv::etcd {

/// Builds one message; fields with their default value are left out, as the format wants it.
class ProtoWriter {
 public:
  ProtoWriter& number(std::uint32_t field, std::uint64_t value);
  ProtoWriter& bytes(std::uint32_t field, std::string_view value);
  /// A message inside of the message, present even when it is empty.
  ProtoWriter& message(std::uint32_t field, ProtoWriter const& value);
  /// A member of a `oneof`, present even when it has its default value.
  ProtoWriter& chosen_number(std::uint32_t field, std::uint64_t value);
  ProtoWriter& chosen_bytes(std::uint32_t field, std::string_view value);

  [[nodiscard]] std::string const& text() const noexcept { return out_; }
  [[nodiscard]] std::string take() noexcept { return std::move(out_); }

 private:
  void tag(std::uint32_t field, std::uint32_t wire_type);
  void varint(std::uint64_t value);
  std::string out_;
};

/// Walks over the fields of a message, which outlives it.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) noexcept : rest_(message) {}

  /// Goes to the next field; false at the end, and after anything that is no message (then
  /// failed()).
  bool next() noexcept;
  [[nodiscard]] std::uint32_t field() const noexcept { return field_; }
  /// The number, or 0 for a field of bytes.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  /// The bytes, or nothing for a number.
  [[nodiscard]] std::string_view bytes() const noexcept { return bytes_; }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  bool varint(std::uint64_t& value) noexcept;
  bool fail() noexcept {
    failed_ = true;
    rest_ = {};
    return false;
  }

  std::string_view rest_;
  std::uint32_t field_ = 0;
  std::uint64_t number_ = 0;
  std::string_view bytes_;
  bool failed_ = false;
};

}  // namespace zest::meta::kv::etcd

#include "zest/meta/engine/sql/postgres/postgres_values.h"

#include <fmt/format.h>

#include <limits>
#include <variant>

namespace zest::meta::sql {
namespace {

// Of the server's pg_type.dat, fixed forever.
constexpr TypeId kBool = 16;
constexpr TypeId kBytea = 17;
constexpr TypeId kName = 19;
constexpr TypeId kInt8 = 20;
constexpr TypeId kInt2 = 21;
constexpr TypeId kInt4 = 23;
constexpr TypeId kText = 25;
constexpr TypeId kOid = 26;
constexpr TypeId kUnknown = 705;
constexpr TypeId kBpchar = 1042;
constexpr TypeId kVarchar = 1043;
constexpr TypeId kVoid = 2278;
constexpr TypeId kNumeric = 1700;

/// A big-endian number of bytes.size() ≤ 8 bytes.
std::uint64_t read_unsigned(std::string_view bytes) {
  std::uint64_t number = 0;
  for (char const c : bytes) {
    number = (number << 8U) | static_cast<unsigned char>(c);
  }
  return number;
}

std::int64_t read_signed(std::string_view bytes) {
  auto const unused = 64U - 8U * static_cast<unsigned>(bytes.size());
  return static_cast<std::int64_t>(read_unsigned(bytes) << unused) >> unused;
}

Error wrong_length(std::string_view type, std::size_t length) {
  return Error::corrupt(fmt::format("the server sent an {} of {} bytes", type, length));
}

Result<Cell> decode_integer(std::string_view type, std::size_t size, std::string_view bytes) {
  if (bytes.size() != size) {
    return wrong_length(type, bytes.size());
  }
  return Cell(read_signed(bytes));
}

/// Four 16-bit numbers (count of digits, exponent of the first, sign, decimals to show), then
/// digits to the base 10,000.
Result<Cell> decode_numeric(std::string_view bytes) {
  constexpr std::size_t kHead = 8;
  constexpr std::int64_t kBase = 10'000;
  constexpr std::uint64_t kNegative = 0x4000;
  if (bytes.size() < kHead) {
    return wrong_length("numeric", bytes.size());
  }
  auto const count = read_unsigned(bytes.substr(0, 2));
  auto const weight = read_signed(bytes.substr(2, 2));
  auto const sign = read_unsigned(bytes.substr(4, 2));
  if (bytes.size() != kHead + count * 2 || (sign != 0 && sign != kNegative)) {
    return Error::corrupt("the server sent a numeric that is none or no number");
  }
  // Counted below zero, where one more number fits. More digits than five overflow at once.
  std::int64_t number = 0;
  for (std::int64_t i = 0; i <= weight || i < static_cast<std::int64_t>(count); ++i) {
    auto const at = kHead + static_cast<std::size_t>(i) * 2;
    auto const digit = at < bytes.size() ? read_signed(bytes.substr(at, 2)) : 0;
    if (digit < 0 || digit >= kBase || (i > weight && digit != 0)) {
      return Error::corrupt("the server sent a numeric that is no whole number");
    }
    if (i <= weight && (__builtin_mul_overflow(number, kBase, &number) ||
                        __builtin_sub_overflow(number, digit, &number))) {
      return Error::corrupt("the server sent a numeric of more than 64 bits");
    }
  }
  if (sign == kNegative) {
    return Cell(number);
  }
  if (number == std::numeric_limits<std::int64_t>::min()) {
    return Error::corrupt("the server sent a numeric of more than 64 bits");
  }
  return Cell(-number);
}

}  // namespace

std::string number_placeholders(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  int number = 0;
  for (char const c : text) {
    if (c == '?') {
      out += fmt::format("${}", ++number);
    } else {
      out += c;
    }
  }
  return out;
}

void BoundParameters::bind(std::vector<Parameter> const& parameters) {
  auto const count = parameters.size();
  integers_.resize(count);
  types_.assign(count, 0);
  values_.assign(count, nullptr);
  lengths_.assign(count, 0);
  formats_.assign(count, 1);
  for (std::size_t i = 0; i < count; ++i) {
    if (auto const* number = std::get_if<std::int64_t>(&parameters[i])) {
      for (unsigned byte = 0; byte < 8; ++byte) {
        integers_[i][byte] =
            static_cast<char>(static_cast<std::uint64_t>(*number) >> (56U - 8U * byte));
      }
      types_[i] = kInt8;
      values_[i] = integers_[i].data();
      lengths_[i] = static_cast<int>(integers_[i].size());
    } else if (auto const* bytes = std::get_if<Bytes>(&parameters[i])) {
      types_[i] = kBytea;
      values_[i] = bytes->value.data();
      lengths_[i] = static_cast<int>(bytes->value.size());
    } else if (auto const* text = std::get_if<Text>(&parameters[i])) {
      types_[i] = kText;
      values_[i] = text->value.data();
      lengths_[i] = static_cast<int>(text->value.size());
    }
  }
}

Result<Cell> decode_cell(TypeId type, std::string_view bytes) {
  switch (type) {
    case kInt8: return decode_integer("int8", 8, bytes);
    case kInt4: return decode_integer("int4", 4, bytes);
    case kInt2: return decode_integer("int2", 2, bytes);
    case kOid:
      if (bytes.size() != 4) {
        return wrong_length("oid", bytes.size());
      }
      return Cell(static_cast<std::int64_t>(read_unsigned(bytes)));
    case kBool:
      if (bytes.size() != 1) {
        return wrong_length("bool", bytes.size());
      }
      return Cell(std::int64_t{bytes[0] != 0});
    case kNumeric: return decode_numeric(bytes);
    case kBytea:
    case kText:
    case kVarchar:
    case kBpchar:
    case kName:
    case kUnknown:
    case kVoid: return Cell(std::string(bytes));
    default:  // the catalogue grows with every extension
      return Error::corrupt(fmt::format("the server sent a value of the unexpected type {}", type));
  }
}

}  // namespace zest::meta::sql

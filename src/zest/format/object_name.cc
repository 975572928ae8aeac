#include "zest/format/object_name.h"

#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace zest {

namespace {

constexpr std::size_t kTempBaseMax = 200;
constexpr std::uint32_t kVerbWidthMax = 32;

Error not_a_block(std::string_view key) {
  return {Errc::inval, Fault::semantic, fmt::format("\"{}\" is no block's key", key)};
}

/// Reads decimal digits off the front of `text`.
template <class Integer>
bool take_number(std::string_view& text, Integer& value) {
  auto const [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{}) {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return true;
}

/// One printf verb with its flags, after the percent sign.
struct Verb {
  bool zero_padded = false;
  std::uint32_t width = 0;
  char kind = 'd';
};

std::optional<Verb> take_verb(std::string_view& text) {
  Verb verb;
  if (text.starts_with('0')) {
    verb.zero_padded = true;
    text.remove_prefix(1);
  }
  if (!text.empty() && text[0] >= '1' && text[0] <= '9' && !take_number(text, verb.width)) {
    return std::nullopt;
  }
  if (text.empty() || verb.width > kVerbWidthMax) {
    return std::nullopt;
  }
  verb.kind = text[0];
  text.remove_prefix(1);
  if (verb.kind != 'd' && verb.kind != 'x' && verb.kind != 'X' && verb.kind != 'o') {
    return std::nullopt;
  }
  return verb;
}

std::string expand(Verb const& verb, std::uint32_t number) {
  auto digits = verb.kind == 'x'   ? fmt::format("{:x}", number)
                : verb.kind == 'X' ? fmt::format("{:X}", number)
                : verb.kind == 'o' ? fmt::format("{:o}", number)
                                   : fmt::format("{}", number);
  if (digits.size() < verb.width) {
    digits.insert(0, verb.width - digits.size(), verb.zero_padded ? '0' : ' ');
  }
  return digits;
}

}  // namespace

std::string block_key(SliceId id, std::uint32_t index, std::uint32_t size, bool hash_prefix) {
  if (hash_prefix) {
    return fmt::format("chunks/{:02X}/{}/{}_{}_{}", id.value % 256, id.value / 1000000, id.value,
                       index, size);
  }
  return fmt::format("chunks/{}/{}/{}_{}_{}", id.value / 1000000, id.value / 1000, id.value, index,
                     size);
}

Result<BlockRef> parse_block_key(std::string_view key, bool hash_prefix) {
  auto name = key.substr(key.rfind('/') + 1);
  BlockRef block;
  auto const underscore = [&name] {
    bool const found = name.starts_with('_');
    name.remove_prefix(found ? 1 : 0);
    return found;
  };
  bool const parsed = take_number(name, block.id.value) && underscore() &&
                      take_number(name, block.index) && underscore() &&
                      take_number(name, block.size) && name.empty();
  // Rebuilding checks folders, leading zeros and all else that is not canonical.
  if (!parsed || block_key(block.id, block.index, block.size, hash_prefix) != key) {
    return not_a_block(key);
  }
  return block;
}

std::uint32_t block_count(std::uint32_t slice_size, std::uint32_t block_size) noexcept {
  return slice_size / block_size + (slice_size % block_size != 0 ? 1 : 0);
}

std::uint32_t block_length(std::uint32_t slice_size, std::uint32_t block_size,
                           std::uint32_t index) noexcept {
  auto const start = std::uint64_t{index} * block_size;
  if (start >= slice_size) {
    return 0;
  }
  auto const rest = slice_size - static_cast<std::uint32_t>(start);
  return rest < block_size ? rest : block_size;
}

std::uint32_t shard_of(std::string_view key, std::uint32_t shards) noexcept {
  std::uint32_t hash = 0x811C9DC5;
  for (char const c : key) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193;
  }
  return hash % shards;
}

Result<std::string> shard_bucket(std::string_view pattern, std::uint32_t shard) {
  std::string out;
  int verbs = 0;
  auto rest = pattern;
  while (!rest.empty()) {
    auto const percent = rest.find('%');
    out += rest.substr(0, percent);
    if (percent == std::string_view::npos) {
      break;
    }
    rest.remove_prefix(percent + 1);
    if (rest.starts_with('%')) {
      out.push_back('%');
      rest.remove_prefix(1);
      continue;
    }
    auto const verb = take_verb(rest);
    if (!verb) {
      verbs = 0;
      break;
    }
    out += expand(*verb, shard);
    ++verbs;
  }
  if (verbs != 1) {
    return Error(
        Errc::inval, Fault::semantic,
        fmt::format(
            "the bucket \"{}\" of a volume with shards needs exactly one number like %d or %02d",
            pattern));
  }
  return out;
}

std::string temp_object_name(std::string_view base_name, std::uint64_t random) {
  return fmt::format(".jfs.{}.tmp.{}", base_name.substr(0, kTempBaseMax), random);
}

bool is_temp_object_name(std::string_view base_name) noexcept {
  if (!base_name.starts_with(".jfs.")) {
    return false;
  }
  auto const mark = base_name.rfind(".tmp.");
  if (mark == std::string_view::npos || mark < 4) {
    return false;
  }
  auto const digits = base_name.substr(mark + 5);
  return !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace zest

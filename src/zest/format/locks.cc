#include "zest/format/locks.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "zest/format/endian.h"

namespace zest {

namespace {

constexpr std::size_t kRangeSize = 24;
constexpr std::size_t kFlockSize = 17;

Error wrong_size(std::string_view what, std::size_t size, std::size_t unit) {
  return Error::corrupt(fmt::format("{} has {} bytes, not a multiple of {}", what, size, unit));
}

bool overlap(LockRange const& a, LockRange const& b) {
  return a.start <= b.end && b.start <= a.end;
}

void append_owner(std::string& out, LockOwner const& owner) {
  append_be(out, owner.session.value);
  append_be(out, owner.owner);
}

LockOwner read_owner(ByteReader& reader) {
  LockOwner owner;
  owner.session.value = reader.be<std::uint64_t>();
  owner.owner = reader.be<std::uint64_t>();
  return owner;
}

}  // namespace

std::string encode_locks(std::span<LockRange const> ranges) {
  std::string out;
  out.reserve(ranges.size() * kRangeSize);
  for (auto const& range : ranges) {
    append_be(out, static_cast<std::uint32_t>(range.type));
    append_be(out, range.pid);
    append_be(out, range.start);
    append_be(out, range.end);
  }
  return out;
}

Result<std::vector<LockRange>> decode_locks(std::string_view bytes) {
  if (bytes.size() % kRangeSize != 0) {
    return wrong_size("a list of POSIX locks", bytes.size(), kRangeSize);
  }
  std::vector<LockRange> ranges;
  ranges.reserve(bytes.size() / kRangeSize);
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    auto const type = reader.be<std::uint32_t>();
    LockRange range;
    range.type = static_cast<LockRange::Type>(type);
    range.pid = reader.be<std::uint32_t>();
    range.start = reader.be<std::uint64_t>();
    range.end = reader.be<std::uint64_t>();
    if (type > static_cast<std::uint32_t>(LockRange::Type::write) || range.start > range.end) {
      return Error::corrupt(fmt::format("impossible POSIX lock: type {}, bytes {} to {}", type,
                                        range.start, range.end));
    }
    ranges.push_back(range);
  }
  return ranges;
}

std::vector<LockRange> merge_lock(std::vector<LockRange> const& ranges, LockRange range) {
  std::vector<LockRange> parts;
  parts.reserve(ranges.size() + 2);
  for (auto const& old : ranges) {
    if (!overlap(old, range)) {
      parts.push_back(old);
      continue;
    }
    if (old.start < range.start) {
      parts.push_back({old.type, old.pid, old.start, range.start - 1});
    }
    if (old.end > range.end) {
      parts.push_back({old.type, old.pid, range.end + 1, old.end});
    }
  }
  if (range.type != LockRange::Type::unlock && range.start <= range.end) {
    parts.push_back(range);
  }
  std::ranges::sort(parts, {}, &LockRange::start);
  std::vector<LockRange> merged;
  for (auto const& part : parts) {
    // `start - 1` cannot wrap: a second part starts behind the first, so not at 0.
    if (!merged.empty() && merged.back().type == part.type && merged.back().pid == part.pid &&
        merged.back().end == part.start - 1) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
  }
  return merged;
}

std::optional<LockRange> find_conflict(std::span<LockRange const> ranges, LockRange wanted) {
  for (auto const& range : ranges) {
    bool const exclusive =
        range.type == LockRange::Type::write || wanted.type == LockRange::Type::write;
    if (exclusive && wanted.type != LockRange::Type::unlock && overlap(range, wanted)) {
      return range;
    }
  }
  return std::nullopt;
}

std::string format_lock_owner(SessionId session, std::uint64_t owner) {
  return fmt::format("{}_{:016X}", session.value, owner);
}

Result<LockOwner> parse_lock_owner(std::string_view field) {
  LockOwner owner;
  auto const* const end = field.data() + field.size();
  auto const [middle, bad_session] = std::from_chars(field.data(), end, owner.session.value);
  if (bad_session == std::errc{} && middle != end && *middle == '_') {
    auto const [stop, bad_owner] = std::from_chars(middle + 1, end, owner.owner, 16);
    if (bad_owner == std::errc{} && stop == end) {
      return owner;
    }
  }
  return Error::corrupt(fmt::format("\"{}\" names no lock owner", field));
}

Result<FlockType> flock_type_from_code(std::uint64_t code) {
  if (code != 'R' && code != 'W') {
    return Error::corrupt(fmt::format("a flock has the unknown type {}", code));
  }
  return static_cast<FlockType>(code);
}

std::string encode_flocks(std::span<FlockHolder const> holders) {
  std::string out;
  out.reserve(holders.size() * kFlockSize);
  for (auto const& holder : holders) {
    append_owner(out, holder.owner);
    out.push_back(static_cast<char>(holder.type));
  }
  return out;
}

Result<std::vector<FlockHolder>> decode_flocks(std::string_view bytes) {
  if (bytes.size() % kFlockSize != 0) {
    return wrong_size("a list of flocks", bytes.size(), kFlockSize);
  }
  std::vector<FlockHolder> holders;
  holders.reserve(bytes.size() / kFlockSize);
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    auto const owner = read_owner(reader);
    ZEST_TRY(auto const type, flock_type_from_code(reader.be<std::uint8_t>()));
    holders.push_back({owner, type});
  }
  return holders;
}

std::string encode_plocks(std::span<PlockHolder const> holders) {
  std::string out;
  for (auto const& holder : holders) {
    append_owner(out, holder.owner);
    append_be(out, static_cast<std::uint32_t>(holder.ranges.size() * kRangeSize));
    out += encode_locks(holder.ranges);
  }
  return out;
}

Result<std::vector<PlockHolder>> decode_plocks(std::string_view bytes) {
  std::vector<PlockHolder> holders;
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    PlockHolder holder;
    holder.owner = read_owner(reader);
    auto const ranges = reader.bytes(reader.be<std::uint32_t>());
    if (reader.failed()) {
      return Error::corrupt(
          fmt::format("a list of POSIX lock owners of {} bytes is cut short", bytes.size()));
    }
    ZEST_TRY(holder.ranges, decode_locks(ranges));
    holders.push_back(std::move(holder));
  }
  return holders;
}

}  // namespace zest

// Advisory locks: POSIX ranges, and how each engine names who holds what (format/01 §8).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest {

/// End of a range that reaches to the end of the file, as the kernel passes it.
constexpr std::uint64_t kLockToEof = 0x7FFFFFFFFFFFFFFF;

/// The POSIX locks of one owner on one file: 24 bytes a range.
std::string encode_locks(std::span<LockRange const> ranges);

/// Corrupt: a length that is no multiple of 24, a type that is never stored, a range that ends
/// before it starts.
Result<std::vector<LockRange>> decode_locks(std::string_view bytes);

/// The owner's ranges after it locked or unlocked `range`: sorted, neighbours of equal type and
/// process joined, without unlock ranges. Empty: the record has to go. `ranges` do not overlap each
/// other.
std::vector<LockRange> merge_lock(std::vector<LockRange> const& ranges, LockRange range);

/// The first of another owner's `ranges` that forbids `wanted`: they overlap and one of them is a
/// write lock.
std::optional<LockRange> find_conflict(std::span<LockRange const> ranges, LockRange wanted);

/// Who holds a lock: a client's session and the 64-bit value by which its kernel knows the owner.
struct LockOwner {
  SessionId session;
  std::uint64_t owner = 0;
  friend auto operator<=>(LockOwner const&, LockOwner const&) = default;
};

/// The field of an owner in Redis' lock hashes: `{session}_{owner as 16 upper-case hex digits}`.
std::string format_lock_owner(SessionId session, std::uint64_t owner);

/// The inverse; takes any number of hex digits in any case. Corrupt for all else.
Result<LockOwner> parse_lock_owner(std::string_view field);

/// How a flock is held; the values are the stored letters.
enum class FlockType : std::uint8_t { read = 'R', write = 'W' };

/// The type of a stored letter; corrupt for all but R and W.
Result<FlockType> flock_type_from_code(std::uint64_t code);

struct FlockHolder {
  LockOwner owner;
  FlockType type = FlockType::read;
  friend bool operator==(FlockHolder const&, FlockHolder const&) = default;
};

/// All flocks of a file in a KV volume: 17 bytes a holder.
std::string encode_flocks(std::span<FlockHolder const> holders);

/// Corrupt: a length that is no multiple of 17, a letter other than R and W.
Result<std::vector<FlockHolder>> decode_flocks(std::string_view bytes);

struct PlockHolder {
  LockOwner owner;
  std::vector<LockRange> ranges;
  friend bool operator==(PlockHolder const&, PlockHolder const&) = default;
};

/// All POSIX locks of a file in a KV volume: owner, size, ranges, repeated.
std::string encode_plocks(std::span<PlockHolder const> holders);

/// Corrupt: a size that does not fit, and what decode_locks refuses.
Result<std::vector<PlockHolder>> decode_plocks(std::string_view bytes);

}  // namespace zest

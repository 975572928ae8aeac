// Which counter keeps an engine's ids and leases, and how stored ids count (format/00 §3).
#pragma once

#include <cstdint>
#include <string_view>

#include "zest/meta/engine.h"

namespace zest::meta {

/// The counter that ids are taken from.
std::string_view counter_of(IdKind kind) noexcept;
/// The counter that holds when a job ran last.
std::string_view counter_of(Lease lease) noexcept;

/// What SQL and KV keep in the counter of ids: the next free id, or the last used one. (Redis keeps
/// the last used one of every kind.)
struct StoredIds {
  std::int64_t initial;       ///< never less, whatever the counter says: no inode ≤ 1
  std::int64_t first_offset;  ///< from the stored value to the first id that it leaves free
};
StoredIds stored_ids(IdKind kind) noexcept;

}  // namespace zest::meta

// What conditions and updates of nodes mean, for engines that compute them in C++.
#pragma once

#include <cstdint>
#include <string>

#include "zest/base/result.h"
#include "zest/meta/engine.h"

namespace zest::meta {

/// True when the fields of `mask` (NodeField) are equal in both; kExists always is.
bool same_fields(Attr const& a, Attr const& b, std::uint32_t mask) noexcept;

/// Applies everything of `update` to `attr`. A link count never falls below zero.
void apply_update(Attr& attr, UpdateNode const& update) noexcept;

/// Empty sets and lists count as absent, on every engine: so a condition made from "nothing there"
/// holds whether the engine keeps an empty record or none.
Value normalized(Value value);

/// "node 17", "entry \"a\" of 1": a key as messages name it. Names are cut at 64 bytes.
std::string describe(Key const& key);

/// The fault of a commit whose condition on `key` failed.
Error conflict(Key const& key);
/// The answer to a commit whose session is not its client's any more (Commit::fence).
Error fenced(SessionId session);
/// The fault of a Put whose value cannot belong to its key, or of a key that cannot be put.
Error misuse(std::string_view what, Key const& key);

/// Refuses a Put of a key that is for fetching only, or of a value of another type.
Result<void> check_put(Put const& put);
/// Refuses an Erase of a key that is for fetching only.
Result<void> check_erase(Key const& key);

/// The value's record of the type that belongs to key type `K`, or nullptr.
template <class K>
typename RecordOf<K>::type const* record_of(K const& /*key*/, Value const& value) noexcept {
  return std::get_if<typename RecordOf<K>::type>(&value);
}

/// `std::visit` with one lambda an alternative.
template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

}  // namespace zest::meta

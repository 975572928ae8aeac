#include "zest/meta/engine/redis/dir_cursor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "zest/format/endian.h"

namespace zest::meta::redis {

namespace {

/// Positions in walking order: cursors with their bits reversed. The end is behind all.
std::uint64_t order(std::uint64_t cursor) noexcept {
  std::uint64_t reversed = 0;
  for (int bit = 0; bit < 64; ++bit) {
    reversed = (reversed << 1U) | ((cursor >> static_cast<unsigned>(bit)) & 1U);
  }
  return reversed;
}

/// True when a walk that stands at `at` has left everything before `end` behind; end 0 is the end
/// of the walk.
bool passed(std::uint64_t at, std::uint64_t end) noexcept {
  return end != 0 && order(at) >= order(end);
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  auto const product = static_cast<Wide>(a ^ 0x9E3779B97F4A7C15U) * (b ^ 0xE7037ED1A0B428DBU);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

void append_names(std::string& out, std::vector<std::uint64_t> const& names) {
  append_be(out, static_cast<std::uint32_t>(names.size()));
  for (auto const name : names) {
    append_be(out, name);
  }
}

bool read_names(ByteReader& reader, std::vector<std::uint64_t>& names) {
  auto const count = reader.be<std::uint32_t>();
  if (reader.failed() || count > reader.remaining() / 8) {
    return false;
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    names.push_back(reader.be<std::uint64_t>());
  }
  return true;
}

}  // namespace

std::uint64_t DirCursor::hash(std::string_view name) const noexcept {
  auto state = secret_ ^ name.size();
  while (!name.empty()) {
    std::uint64_t word = 0;
    auto const taken = std::min<std::size_t>(name.size(), 8);
    std::memcpy(&word, name.data(), taken);
    state = mix(state, word ^ secret_);
    name.remove_prefix(taken);
  }
  return mix(state, secret_);
}

Result<DirCursor> DirCursor::parse(std::string_view text, std::uint64_t secret) {
  DirCursor cursor;
  cursor.secret_ = secret;
  if (text.empty()) {
    return cursor;
  }
  ByteReader reader(text);
  cursor.at_ = reader.be<std::uint64_t>();
  auto const groups = reader.be<std::uint32_t>();
  bool good = !reader.failed();
  for (std::uint32_t i = 0; good && i < groups; ++i) {
    Pinned pinned{.end = reader.be<std::uint64_t>(), .names = {}};
    good = read_names(reader, pinned.names);
    cursor.pinned_.push_back(std::move(pinned));
  }
  good = good && read_names(reader, cursor.recent_) && reader.finished();
  if (!good) {
    return Error(Errc::inval, Fault::bug, "a directory cursor that this engine did not make");
  }
  for (auto const& pinned : cursor.pinned_) {
    cursor.known_.insert(pinned.names.begin(), pinned.names.end());
  }
  cursor.known_.insert(cursor.recent_.begin(), cursor.recent_.end());
  return cursor;
}

std::string DirCursor::position() const {
  return std::to_string(at_);
}

std::size_t DirCursor::pinned_names() const noexcept {
  std::size_t count = 0;
  for (auto const& pinned : pinned_) {
    count += pinned.names.size();
  }
  return count;
}

bool DirCursor::take(std::string_view name) {
  auto const hashed = hash(name);
  if (!known_.insert(hashed).second) {
    return false;
  }
  step_.push_back(hashed);
  return true;
}

void DirCursor::pass(std::uint64_t next) {
  recent_.insert(recent_.end(), step_.begin(), step_.end());
  step_.clear();
  at_ = next;
  drop_passed();
}

void DirCursor::stop_inside(std::uint64_t next) {
  pinned_.push_back({.end = next, .names = std::move(step_)});
  step_.clear();
}

void DirCursor::drop_passed() {
  for (auto& pinned : pinned_) {
    if (passed(at_, pinned.end)) {
      recent_.insert(recent_.end(), pinned.names.begin(), pinned.names.end());
      pinned.names.clear();
    }
  }
  std::erase_if(pinned_, [](Pinned const& pinned) { return pinned.names.empty(); });
}

std::string DirCursor::text() const {
  std::string out;
  append_be(out, at_);
  append_be(out, static_cast<std::uint32_t>(pinned_.size()));
  for (auto const& pinned : pinned_) {
    append_be(out, pinned.end);
    append_names(out, pinned.names);
  }
  auto const old = recent_.size() > kRecent ? recent_.size() - kRecent : 0;
  append_names(out, {recent_.begin() + static_cast<std::ptrdiff_t>(old), recent_.end()});
  return out;
}

}  // namespace zest::meta::redis

// Where a listing of a directory stands, for pages that list every entry that stays exactly once.
//
// HSCAN walks a hash table bucket by bucket in the order of the reversed bits of the hashes, so its
// cursor is a position that keeps its meaning when the table grows or shrinks. It promises each
// entry at least once; three things would make it twice:
//
//  1. A step gives more entries than the page may have (a small hash is given whole whatever COUNT
//     says; a bucket is never split). The page then ends inside a step, and the next page repeats
//     the step from its begin. What was already given of it is remembered until the walk has passed
//     the step's end ("pinned"): at most a step, and for a small hash (at most
//     hash-max-listpack-entries) to the end of the listing, because it may become a table
//     meanwhile.
//  2. The table shrank: the walk goes on at the begin of the wider bucket that it stands in, and
//  gives
//     again what of that bucket was given before. Those were among the last ones given: the table
//     is shrunk to about the number of its entries, so of those that are still there a bucket holds
//     a few, and of all that were given since its begin there are as many as the table was shrunk
//     by. The last kRecent are remembered, so a directory may shrink by that factor between two
//     pages. Only beyond (listing a million names while another client removes all but a few
//     hundred) may a name that stays appear twice; it is never missed.
//  3. The table is being enlarged or shrunk in small steps while it is walked: HSCAN then visits
//  both
//     tables and the same rules hold.
//
// Names are remembered as 64-bit hashes with a secret key, so nobody can make up names that hide
// each other. A cursor is thus bounded: 8 bytes × (kRecent + two steps).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "zest/base/result.h"

namespace zest::meta::redis {

class DirCursor {
 public:
  static constexpr std::size_t kRecent = 2048;

  /// Begins at the begin, or goes on where `text` of an earlier page says. EINVAL (Fault::bug): a
  /// text that no cursor wrote.
  static Result<DirCursor> parse(std::string_view text, std::uint64_t secret);

  /// The server's cursor for the next step, in decimal.
  [[nodiscard]] std::string position() const;
  /// How many names the next page may get to see again.
  [[nodiscard]] std::size_t repeated() const noexcept { return pinned_names(); }

  /// True when the listing has not had this name yet; it has from now on.
  bool take(std::string_view name);
  /// The step that began at position() was given whole; the next begins at `next` (0 = it was the
  /// last).
  void pass(std::uint64_t next);
  /// The page is full inside of the step that would end at `next`.
  void stop_inside(std::uint64_t next);

  [[nodiscard]] std::string text() const;

 private:
  /// Names given of a step that was not finished, until the walk is past `end`.
  struct Pinned {
    std::uint64_t end = 0;
    std::vector<std::uint64_t> names;
  };

  [[nodiscard]] std::uint64_t hash(std::string_view name) const noexcept;
  [[nodiscard]] std::size_t pinned_names() const noexcept;
  void drop_passed();

  std::uint64_t secret_ = 0;
  std::uint64_t at_ = 0;
  std::vector<Pinned> pinned_;
  /// Oldest first.
  std::vector<std::uint64_t> recent_;
  std::vector<std::uint64_t> step_;
  std::unordered_set<std::uint64_t> known_;
};

}  // namespace zest::meta::redis

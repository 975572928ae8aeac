// Cells of a result's row → fields of a record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/format/types.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/remote/session.h"

namespace zest::meta::sql {

/// Reads cells one after the other and remembers the first that cannot be (NULL, of another type,
/// out of range, not there), so that a decoder reads all fields and tests once.
class RowReader {
 public:
  explicit RowReader(std::span<Cell const> cells) : cells_(cells) {}

  /// An integer within [min, max].
  std::int64_t integer(std::int64_t min, std::int64_t max);
  template <class Integer>
  Integer in_range_of() {
    constexpr auto kMax = std::numeric_limits<Integer>::max();
    constexpr bool kWide = sizeof(Integer) == sizeof(std::int64_t);
    return static_cast<Integer>(integer(std::numeric_limits<Integer>::min() == 0 ? 0 : INT64_MIN,
                                        kWide ? INT64_MAX : static_cast<std::int64_t>(kMax)));
  }
  /// Like in_range_of; NULL reads as `absent`.
  template <class Integer>
  Integer or_null(Integer absent = 0) {
    if (is_null()) {
      ++next_;
      return absent;
    }
    return in_range_of<Integer>();
  }
  /// A 64-bit pattern stored as a signed number (lock owners).
  std::uint64_t pattern() { return static_cast<std::uint64_t>(integer(INT64_MIN, INT64_MAX)); }
  /// Valid as long as the cells; NULL reads as no bytes.
  std::string_view bytes();
  FileType file_type() {
    return static_cast<FileType>(
        integer(static_cast<int>(FileType::regular), static_cast<int>(FileType::socket)));
  }
  Ino ino() { return Ino{static_cast<std::uint64_t>(integer(1, INT64_MAX))}; }
  [[nodiscard]] bool is_null() const noexcept {
    return next_ < cells_.size() && std::holds_alternative<std::monostate>(cells_[next_]);
  }

  /// Declares the value that was read last to be impossible.
  void reject_last(std::int64_t value);

  [[nodiscard]] bool failed() const noexcept { return !failure_.empty(); }
  /// Corrupt, naming the record and the value.
  [[nodiscard]] Error error(Key const& key) const;

 private:
  std::span<Cell const> cells_;
  std::size_t next_ = 0;
  std::string failure_;
};

/// The attr of the next columns, as node_row() orders them.
Attr read_attr(RowReader& row);

}  // namespace zest::meta::sql

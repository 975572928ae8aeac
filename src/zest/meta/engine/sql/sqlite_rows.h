// Columns of a row ⇄ fields of a record (format/03 §2.1).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/format/types.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/sqlite_connection.h"
#include "zest/meta/engine/sql/stored_time.h"

namespace zest::meta::sqlite {

/// The columns of a node in the order of read_attr(), without the inode.
inline constexpr int kAttrColumns = 18;
/// To be pasted into a SELECT: literals must be whole, so this is a macro.
#define ZEST_SQL_ATTR_COLUMNS                                                          \
  "n.type,n.flags,n.mode,n.uid,n.gid,n.atime,n.mtime,n.ctime,n.atimensec,n.mtimensec," \
  "n.ctimensec,n.nlink,n.length,n.rdev,n.parent,n.access_acl_id,n.default_acl_id,n.tier_id"

/// Reads columns one after the other and remembers the first that cannot be, so that a decoder
/// reads all fields and tests once.
class RowReader {
 public:
  explicit RowReader(Statement const& row, int first_column = 0)
      : row_(&row), column_(first_column) {}

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
    if (row_->is_null(column_)) {
      ++column_;
      return absent;
    }
    return in_range_of<Integer>();
  }
  /// A 64-bit pattern stored as a signed number (lock owners).
  std::uint64_t pattern() { return static_cast<std::uint64_t>(integer(INT64_MIN, INT64_MAX)); }
  std::string_view bytes() { return row_->bytes(column_++); }
  FileType file_type();
  Ino ino() { return Ino{static_cast<std::uint64_t>(integer(1, INT64_MAX))}; }

  /// Declares the value that was read last to be impossible.
  void reject_last(std::int64_t value) noexcept;

  [[nodiscard]] bool failed() const noexcept { return failed_column_ >= 0; }
  /// Corrupt, naming the record and the value.
  [[nodiscard]] Error error(Key const& key) const;

 private:
  Statement const* row_;
  int column_;
  int failed_column_ = -1;
  std::int64_t failed_value_ = 0;
};

/// The attr of the next kAttrColumns columns.
Attr read_attr(RowReader& row);

}  // namespace zest::meta::sqlite

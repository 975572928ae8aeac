#include "zest/meta/engine/sql/sqlite_rows.h"

#include <fmt/format.h>

#include "zest/meta/engine/node_fields.h"

namespace zest::meta::sqlite {

namespace {
constexpr std::int64_t kNanosPerSec = 1'000'000'000;
}  // namespace

std::int64_t RowReader::integer(std::int64_t min, std::int64_t max) {
  auto const column = column_++;
  auto const value = row_->integer(column);
  if (!row_->is_integer(column) || value < min || value > max) {
    reject_last(value);
    return min;
  }
  return value;
}

void RowReader::reject_last(std::int64_t value) noexcept {
  if (!failed()) {
    failed_column_ = column_ - 1;
    failed_value_ = value;
  }
}

FileType RowReader::file_type() {
  return static_cast<FileType>(
      integer(static_cast<int>(FileType::regular), static_cast<int>(FileType::socket)));
}

Error RowReader::error(Key const& key) const {
  return Error::corrupt(fmt::format("{}: column {} holds {}, which cannot be", describe(key),
                                    failed_column_, failed_value_));
}

Attr read_attr(RowReader& row) {
  Attr attr;
  attr.type = row.file_type();
  attr.flags = row.in_range_of<std::uint8_t>();
  attr.mode = static_cast<std::uint16_t>(row.integer(0, 07777));
  attr.uid = row.in_range_of<std::uint32_t>();
  attr.gid = row.in_range_of<std::uint32_t>();
  StoredTime times[3];
  for (auto& time : times) {
    time.microseconds = row.in_range_of<std::int64_t>();
  }
  for (auto& time : times) {
    // Some clients store 0…999,999,999 here for times before 1970; the sum is what counts.
    time.nanoseconds = row.integer(0, kNanosPerSec - 1);
  }
  attr.atime = from_stored(times[0]);
  attr.mtime = from_stored(times[1]);
  attr.ctime = from_stored(times[2]);
  attr.nlink = row.in_range_of<std::uint32_t>();
  attr.length = static_cast<std::uint64_t>(row.integer(0, std::int64_t{kFileSizeMax}));
  attr.rdev = row.or_null<std::uint32_t>();
  attr.parent = Ino{static_cast<std::uint64_t>(row.or_null<std::int64_t>())};
  attr.access_acl = row.or_null<std::uint32_t>();
  attr.default_acl = row.or_null<std::uint32_t>();
  attr.tier = row.or_null<std::uint8_t>();
  return attr;
}

}  // namespace zest::meta::sqlite

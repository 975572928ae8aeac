#include "zest/meta/engine/sql/remote/row_reader.h"

#include <fmt/format.h>

#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/stored_time.h"

namespace zest::meta::sql {

namespace {
constexpr std::int64_t kNanosPerSec = 1'000'000'000;
}  // namespace

std::int64_t RowReader::integer(std::int64_t min, std::int64_t max) {
  auto const index = next_++;
  auto const* value = index < cells_.size() ? std::get_if<std::int64_t>(&cells_[index]) : nullptr;
  if (value == nullptr) {
    if (!failed()) {
      failure_ = fmt::format("column {} holds no number", index);
    }
    return min;
  }
  if (*value < min || *value > max) {
    reject_last(*value);
    return min;
  }
  return *value;
}

std::string_view RowReader::bytes() {
  auto const index = next_++;
  if (index < cells_.size() && std::holds_alternative<std::monostate>(cells_[index])) {
    return {};
  }
  auto const* value = index < cells_.size() ? std::get_if<std::string>(&cells_[index]) : nullptr;
  if (value == nullptr) {
    if (!failed()) {
      failure_ = fmt::format("column {} holds no bytes", index);
    }
    return {};
  }
  return *value;
}

void RowReader::reject_last(std::int64_t value) {
  if (!failed()) {
    failure_ = fmt::format("column {} holds {}, which cannot be", next_ - 1, value);
  }
}

Error RowReader::error(Key const& key) const {
  return Error::corrupt(fmt::format("{}: {}", describe(key), failure_));
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

}  // namespace zest::meta::sql

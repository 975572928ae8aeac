// Values of records that are one value in the store (format/01).
#pragma once

#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/format/kv_key.h"
#include "zest/format/usage.h"
#include "zest/meta/record.h"

namespace zest::meta::kv {

KvKind quota_kind(QuotaType type) noexcept;

/// `key` is none of Child, Parents, HasEntries, Session, Flock, Plock (those are made of others).
Result<Value> decode_value(Key const& key, std::string_view bytes);
/// The inverse; the value is of the key's type. Empty lists give an empty text.
std::string encode_value(Key const& key, Value const& value);

}  // namespace zest::meta::kv

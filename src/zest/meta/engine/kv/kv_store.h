// An ordered key-value store with versions and conditional transactions: what the KV engine asks of
// etcd, and of whatever joins it later.
//
// Every value carries the revision at which it was written last; a transaction checks revisions (or
// values) and writes, in one trip. A transaction whose comparisons fail answers with the current
// records of what it asked for, so that the next attempt needs no trip to read. Keys and values are
// bytes; an empty value is a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"

namespace zest::meta::kv {

/// Grows with every transaction that writes; 0 stands for "absent".
using Revision = std::int64_t;

struct Versioned {
  std::optional<std::string> value;  ///< nothing = the key is absent
  Revision revision = 0;
  friend bool operator==(Versioned const&, Versioned const&) = default;
};
struct Pair {
  std::string key;
  std::string value;  ///< empty where only keys were asked for
  Revision revision = 0;
  friend bool operator==(Pair const&, Pair const&) = default;
};

/// Keys in [begin, end), in byte order.
struct Range {
  std::string begin;
  std::string end;
  std::size_t limit = 1024;  ///< most pairs of the answer; > 0
  bool keys_only = false;
  friend auto operator<=>(Range const&, Range const&) = default;
};
struct RangeReply {
  std::vector<Pair> pairs;
  bool more = false;  ///< there are further keys in the range
};

/// Everything is answered as of one revision.
struct Read {
  std::vector<std::string> keys;
  std::vector<Range> ranges;
  /// A past revision to read at, from an earlier reply; 0 = the newest.
  Revision at = 0;
  [[nodiscard]] bool empty() const noexcept { return keys.empty() && ranges.empty(); }
};
struct ReadReply {
  std::vector<Versioned> values;   ///< the i-th belongs to the i-th key
  std::vector<RangeReply> ranges;  ///< the i-th belongs to the i-th range
  Revision revision = 0;
};

// ---- comparisons

struct IsAbsent {
  std::string key;
};
/// The key was last written at `revision` (> 0).
struct IsRevision {
  std::string key;
  Revision revision = 0;
};
struct IsValue {
  std::string key;
  std::string value;
};
/// The key exists, and above < value < below, compared as bytes.
struct IsBetween {
  std::string key;
  std::string above;
  std::string below;
};
struct IsEmptyRange {
  std::string begin;
  std::string end;
};
/// No key of the range was written after `revision`; deletions are not seen.
struct IsRangeOf {
  std::string begin;
  std::string end;
  Revision revision = 0;
};
using Compare = std::variant<IsAbsent, IsRevision, IsValue, IsBetween, IsEmptyRange, IsRangeOf>;

// ---- writes

struct PutPair {
  std::string key;
  std::string value;
};
struct DeleteKey {
  std::string key;
};
struct DeleteRange {
  std::string begin;
  std::string end;
};
using Write = std::variant<PutPair, DeleteKey, DeleteRange>;

struct Transaction {
  std::vector<Compare> compares;
  /// No key may be touched by two of them.
  std::vector<Write> writes;
  /// What to read when a comparison fails.
  Read otherwise;
};
struct TransactionReply {
  bool applied = false;
  /// Applied: every key that was put has this revision now.
  Revision revision = 0;
  ReadReply current;  ///< not applied: the answer to `otherwise`
};

struct StoreCapabilities {
  /// Comparisons, and reads, that every server accepts in one transaction. Reads are split where
  /// they must be; a larger transaction is tried, and refused by the server (EFBIG) or not.
  std::size_t operations_max = 128;
  /// Writes likewise.
  std::size_t writes_max = 128;
  std::size_t value_size_max = std::size_t{1536} * 1024;
};

/// Thread-safe; all calls may suspend. Errors: Fault::transient with ETIMEDOUT when a transaction was
/// sent and nobody knows what became of it; with another errno when nothing has happened (server
/// away, overloaded); Fault::semantic for what the server refuses (EACCES, EFBIG, ENOSPC).
class Store {
 public:
  virtual ~Store() = default;

  [[nodiscard]] virtual StoreCapabilities const& capabilities() const noexcept = 0;
  /// "etcd", "memkv": for messages and metrics.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// One trip as long as `read` has at most operations_max parts.
  virtual Result<ReadReply> read(Context const& ctx, Read const& read) = 0;
  /// One trip.
  virtual Result<TransactionReply> commit(Context const& ctx, Transaction const& transaction) = 0;
  /// Requests sent so far.
  [[nodiscard]] virtual std::uint64_t trips() const noexcept = 0;
};

}  // namespace zest::meta::kv

// What one transaction sees of the store, and what it wants written.
//
// A body reads through a View. What nobody has read yet is noted as missing and taken for absent;
// the caller reads it and runs the body again, until nothing is missing. So a body is written once,
// without announcing what it reads. Everything it read from the store becomes a comparison of the
// transaction. A record may be supposed (a condition says what it should be) or remembered (from the
// cache): the comparison then finds out.
//
// Several bodies may share a transaction: each sees the writes of those before it (Overlay).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "zest/meta/engine/kv/kv_cache.h"
#include "zest/meta/engine/kv/kv_store.h"

namespace zest::meta::kv {

/// Writes that are not in the store yet.
class Overlay {
 public:
  void put(std::string key, std::string value);
  void erase(std::string key);
  /// Keys in [begin, end), written here before or not.
  void erase_range(std::string begin, std::string end);
  /// Applies `later` on top.
  void merge(Overlay later);

  enum class Fate : std::uint8_t { untouched, erased, put };
  /// What became of `key`; `value` is set for `put`.
  Fate find(std::string const& key, std::string_view& value) const;
  /// True when anything in [begin, end) is written.
  [[nodiscard]] bool touches(std::string const& begin, std::string const& end) const;
  [[nodiscard]] bool empty() const noexcept { return writes_.empty() && ranges_.empty(); }

  /// As the store takes them: no key twice, ranges cut around the keys that are put.
  [[nodiscard]] std::vector<Write> writes() const;
  /// Single keys: values, or nothing for what was erased.
  [[nodiscard]] std::map<std::string, std::optional<std::string>> const& keys() const noexcept {
    return writes_;
  }

 private:
  std::map<std::string, std::optional<std::string>> writes_;
  std::vector<std::pair<std::string, std::string>> ranges_;
};

/// What is known of the store while a transaction is made.
class Base {
 public:
  enum class Source : std::uint8_t { supposed, remembered, read };
  struct Known {
    Versioned versioned;
    Source source = Source::read;
  };
  struct KnownRange {
    RangeReply reply;
    Revision revision = 0;
    Source source = Source::read;
  };

  /// `cache` may be null: then nothing is remembered.
  explicit Base(Cache* cache) : cache_(cache) {}

  Known const* find(std::string const& key);
  [[nodiscard]] KnownRange const* find(Range const& range) const;
  /// Takes over an answer, in the cache, too.
  void learn(Read const& asked, ReadReply reply);
  void suppose(std::string const& key, std::optional<std::string> value);
  void suppose_empty(Range const& range);

 private:
  Cache* cache_;
  std::map<std::string, Known> keys_;
  std::map<Range, KnownRange> ranges_;
};

/// Keys and ranges that a decision hung on.
struct Dependencies {
  std::set<std::string> keys;
  std::set<Range> ranges;
  /// Keys whose values lie strictly between two bounds, whatever they are.
  std::map<std::string, std::pair<std::string, std::string>> between;
  void merge(Dependencies const& other);
  [[nodiscard]] Read read() const;
};

class View {
 public:
  /// `before`: writes of earlier bodies of the same transaction; null: none.
  View(Base& base, Overlay const* before) : base_(base), before_(before) {}

  /// The value; nothing when absent. The view is valid until the next write through this View.
  std::optional<std::string_view> get(std::string const& key);
  /// Pairs of the store. Where earlier bodies have written into the range, postponed() is true.
  RangeReply const& scan(Range const& range);
  /// What a condition expects, so that it needs no read: no effect when the record is known.
  void suppose(std::string const& key, std::optional<std::string> value);
  void suppose_empty(Range const& range);
  /// The transaction shall require above < value < below. False when it is known not to be so.
  bool require_between(std::string const& key, std::string above, std::string below);

  void put(std::string key, std::string value) { own_.put(std::move(key), std::move(value)); }
  void erase(std::string key) { own_.erase(std::move(key)); }
  void erase_range(std::string begin, std::string end) {
    own_.erase_range(std::move(begin), std::move(end));
  }

  /// Records that have to be read before the body's outcome counts.
  [[nodiscard]] Read const& missing() const noexcept { return missing_; }
  /// True when the outcome hangs on something that was not read from the store itself.
  [[nodiscard]] bool unsure() const noexcept { return unsure_; }
  /// True when the body must run in a later transaction.
  [[nodiscard]] bool postponed() const noexcept { return postponed_; }
  [[nodiscard]] Dependencies const& dependencies() const noexcept { return dependencies_; }
  [[nodiscard]] Overlay& own() noexcept { return own_; }

 private:
  [[nodiscard]] bool written_before(std::string const& key) const;

  Base& base_;
  Overlay const* before_;
  Overlay own_;
  Dependencies dependencies_;
  Read missing_;
  bool unsure_ = false;
  bool postponed_ = false;
};

/// The comparisons that make sure of what `dependencies` were seen as.
std::vector<Compare> compares(Base& base, Dependencies const& dependencies);

}  // namespace zest::meta::kv

#include "zest/meta/engine/kv/memory_kv.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "zest/meta/engine/node_fields.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/mutex.h"

namespace zest::meta::kv {

class MemoryKvData {
 public:
  ReadReply read(Read const& read) {
    std::lock_guard const lock(mutex_);
    return read_locked(read);
  }

  TransactionReply commit(Transaction const& transaction) {
    std::lock_guard const lock(mutex_);
    TransactionReply reply;
    reply.applied = std::ranges::all_of(transaction.compares, [this](Compare const& compare) {
      return std::visit([this](auto const& c) { return holds(c); }, compare);
    });
    if (!reply.applied) {
      reply.current = read_locked(transaction.otherwise);
    } else if (!transaction.writes.empty()) {
      ++revision_;
      for (auto const& write : transaction.writes) {
        std::visit([this](auto const& w) { apply(w); }, write);
      }
    }
    reply.revision = revision_;
    return reply;
  }

 private:
  /// Versions of a key, oldest first; a version without a value is a deletion. The last ones are
  /// kept for reads of the past.
  using History = std::vector<Versioned>;
  static constexpr std::size_t kVersionsMax = 64;

  /// The key as of `at`, absent when it was or when its versions of then are forgotten.
  static Versioned version_at(History const& history, Revision at) {
    auto const it = std::ranges::find_if(history.rbegin(), history.rend(),
                                         [at](Versioned const& v) { return v.revision <= at; });
    return it == history.rend() || !it->value ? Versioned() : *it;
  }
  [[nodiscard]] Versioned get(std::string const& key, Revision at) const {
    auto const it = map_.find(key);
    return it == map_.end() ? Versioned() : version_at(it->second, at);
  }
  [[nodiscard]] Versioned get(std::string const& key) const { return get(key, revision_); }

  [[nodiscard]] ReadReply read_locked(Read const& read) const {
    auto const at = read.at == 0 ? revision_ : read.at;
    ReadReply reply{.values = {}, .ranges = {}, .revision = at};
    for (auto const& key : read.keys) {
      reply.values.push_back(get(key, at));
    }
    for (auto const& range : read.ranges) {
      reply.ranges.push_back(scan(range, at));
    }
    return reply;
  }

  [[nodiscard]] RangeReply scan(Range const& range, Revision at) const {
    RangeReply answer;
    for (auto it = map_.lower_bound(range.begin); it != map_.end() && it->first < range.end; ++it) {
      auto const version = version_at(it->second, at);
      if (!version.value) {
        continue;
      }
      if (answer.pairs.size() == range.limit) {
        answer.more = true;
        break;
      }
      answer.pairs.push_back({.key = it->first,
                              .value = range.keys_only ? std::string() : *version.value,
                              .revision = version.revision});
    }
    return answer;
  }

  [[nodiscard]] bool holds(IsAbsent const& c) const { return !get(c.key).value; }
  [[nodiscard]] bool holds(IsRevision const& c) const { return get(c.key).revision == c.revision; }
  [[nodiscard]] bool holds(IsValue const& c) const { return get(c.key).value == c.value; }
  [[nodiscard]] bool holds(IsBetween const& c) const {
    auto const found = get(c.key);
    return found.value && c.above < *found.value && *found.value < c.below;
  }
  [[nodiscard]] bool holds(IsEmptyRange const& c) const {
    return scan({.begin = c.begin, .end = c.end, .limit = 1}, revision_).pairs.empty();
  }
  [[nodiscard]] bool holds(IsRangeOf const& c) const {
    auto const found = scan({.begin = c.begin, .end = c.end, .limit = SIZE_MAX}, revision_);
    return std::ranges::all_of(found.pairs,
                               [&](Pair const& pair) { return pair.revision <= c.revision; });
  }

  void write(History& history, std::optional<std::string> value) {
    history.push_back({.value = std::move(value), .revision = revision_});
    if (history.size() > kVersionsMax) {
      history.erase(history.begin());
    }
  }
  void apply(PutPair const& w) { write(map_[w.key], w.value); }
  void apply(DeleteKey const& w) {
    if (auto const it = map_.find(w.key); it != map_.end()) {
      write(it->second, std::nullopt);
    }
  }
  void apply(DeleteRange const& w) {
    for (auto it = map_.lower_bound(w.begin); it != map_.end() && it->first < w.end; ++it) {
      write(it->second, std::nullopt);
    }
  }

  Mutex mutex_;
  std::map<std::string, History> map_;
  Revision revision_ = 1;
};

std::shared_ptr<MemoryKvData> make_memory_kv_data() {
  return std::make_shared<MemoryKvData>();
}

namespace {

/// The bounds of a write, for the check that no key is touched twice.
Range bounds(Write const& write) {
  return std::visit(
      Overloaded{
          [](PutPair const& w) { return Range{.begin = w.key, .end = w.key + '\0'}; },
          [](DeleteKey const& w) { return Range{.begin = w.key, .end = w.key + '\0'}; },
          [](DeleteRange const& w) { return Range{.begin = w.begin, .end = w.end}; },
      },
      write);
}

class MemoryKv final : public Store {
 public:
  MemoryKv(std::shared_ptr<MemoryKvData> data, MemoryKvOptions options)
      : data_(std::move(data)), options_(std::move(options)) {
    capabilities_.operations_max = options_.operations_max;
    capabilities_.writes_max = options_.writes_max;
  }

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "memkv"; }

  Result<ReadReply> read(Context const& ctx, Read const& read) override {
    return call<ReadReply>(ctx, "read", [&] { return data_->read(read); });
  }

  Result<TransactionReply> commit(Context const& ctx, Transaction const& transaction) override {
    ZEST_CHECK(check(transaction));
    return call<TransactionReply>(ctx, "commit", [&] { return data_->commit(transaction); });
  }

  [[nodiscard]] std::uint64_t trips() const noexcept override {
    return trips_.load(std::memory_order_relaxed);
  }

 private:
  template <class Reply, class Body>
  Result<Reply> call(Context const& ctx, std::string_view name, Body const& body) {
    trips_.fetch_add(1, std::memory_order_relaxed);
    if (options_.yield && Loop::on_fiber()) {
      Loop::current()->yield();
    }
    if (ctx.stop.stop_requested()) {
      return Error(Errc::intr);
    }
    if (options_.before_call) {
      ZEST_CHECK(options_.before_call(name));
    }
    auto reply = body();
    if (options_.after_call) {
      ZEST_CHECK(options_.after_call(name));
    }
    return reply;
  }

  /// What etcd refuses.
  [[nodiscard]] Result<void> check(Transaction const& transaction) const {
    auto const reads = transaction.otherwise.keys.size() + transaction.otherwise.ranges.size();
    auto const most = std::max(transaction.compares.size(), reads);
    if (most > options_.operations_max || transaction.writes.size() > options_.writes_max) {
      return Error(Errc::fbig, Fault::semantic,
                   fmt::format("memkv: a transaction of {} comparisons and {} writes is too large",
                               most, transaction.writes.size()));
    }
    std::vector<std::pair<Range, bool>> ranges;
    for (auto const& write : transaction.writes) {
      ranges.emplace_back(bounds(write), std::holds_alternative<PutPair>(write));
    }
    std::ranges::sort(ranges);
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].first.begin < ranges[i - 1].first.end &&
          (ranges[i].second || ranges[i - 1].second)) {
        return Error(Errc::inval, Fault::bug, "a transaction that touches a key twice");
      }
    }
    return {};
  }

  std::shared_ptr<MemoryKvData> data_;
  MemoryKvOptions options_;
  StoreCapabilities capabilities_;
  std::atomic<std::uint64_t> trips_{0};
};

}  // namespace

std::unique_ptr<Store> make_memory_kv(std::shared_ptr<MemoryKvData> data, MemoryKvOptions options) {
  return std::make_unique<MemoryKv>(std::move(data), std::move(options));
}

}  // namespace zest::meta::kv

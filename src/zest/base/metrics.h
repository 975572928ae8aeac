// Metrics: counters, gauges and histograms, named as the peer names them, exported as Prometheus
// text.
//
// A Registry belongs to one mounted volume (two volumes in one process have two). Instruments live
// as long as their registry and are updated without locks from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace zest {

class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t value() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(std::int64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  void add(std::int64_t n) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t value() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::int64_t> value_{0};
};

/// Counts observations in buckets whose upper bounds are fixed at creation.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);
  void observe(double value) noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept {
    return count_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] double sum() const noexcept;

 private:
  friend class Registry;
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> buckets_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<double> sum_{0};
};

/// `start`, `start·factor`, … `n` bounds.
std::vector<double> exponential_bounds(double start, double factor, int n);

class Registry {
 public:
  /// Label set in Prometheus form without braces, e.g. `method="GET"`; empty for none.
  Counter& counter(std::string_view name, std::string_view help, std::string_view labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, std::string_view labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                       std::string_view labels = {});
  /// A gauge whose value is asked for at each scrape; `read` is called on the scraping thread.
  void gauge_fn(std::string_view name, std::string_view help, std::function<double()> read,
                std::string_view labels = {});

  /// Prometheus text exposition; `common_labels` are added to every sample. Names get the prefix
  /// `juicefs_` so that dashboards made for the peer work.
  [[nodiscard]] std::string prometheus(std::string_view common_labels) const;
  /// The `.stats` virtual file: `name value` a line (format/07 §5.2).
  [[nodiscard]] std::string stats() const;

 private:
  struct Family;
  struct Sample;
  Sample& sample(std::string_view name, std::string_view help, std::string_view type,
                 std::string_view labels);

  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Family>, std::less<>> families_;

 public:
  Registry();
  ~Registry();
  Registry(Registry const&) = delete;
  Registry& operator=(Registry const&) = delete;
};

}  // namespace zest

// The registry keeps one Family a metric name (help and type are written once) and one Sample a
// label set. Instruments are found under the mutex once, when a component starts, and then updated
// without it.
#include "zest/base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "zest/base/assert.h"

namespace zest {
namespace {

constexpr std::string_view kPrefix = "juicefs_";

/// Numbers as people and Prometheus read them: integers without a fraction, the rest in shortest
/// form.
std::string number(double value) {
  if (std::isnan(value)) {
    return "NaN";
  }
  if (std::isinf(value)) {
    return value > 0 ? "+Inf" : "-Inf";
  }
  constexpr double kExactIntegers = 9007199254740992.0;  // 2^53: beyond it a double skips integers
  if (std::abs(value) < kExactIntegers && value == std::trunc(value)) {
    return fmt::format("{}", static_cast<std::int64_t>(value));
  }
  return fmt::format("{}", value);
}

std::string join_labels(std::string_view a, std::string_view b) {
  std::string joined(a);
  if (!a.empty() && !b.empty()) {
    joined += ',';
  }
  joined += b;
  return joined;
}

std::string braced(std::string_view labels) {
  return labels.empty() ? std::string() : fmt::format("{{{}}}", labels);
}

/// Help texts end at the line; the exposition format escapes backslash and newline only.
std::string escaped_help(std::string_view help) {
  std::string text;
  for (char c : help) {
    if (c == '\\') {
      text += "\\\\";
    } else if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text;
}

/// The value of the label `name` in a set like `a="x",name="y"`; empty when it isn't there.
std::string_view label_value(std::string_view labels, std::string_view name) {
  std::string const key = fmt::format("{}=\"", name);
  for (std::size_t at = labels.find(key); at != std::string_view::npos;
       at = labels.find(key, at + 1)) {
    if (at == 0 || labels[at - 1] == ',') {
      auto const rest = labels.substr(at + key.size());
      return rest.substr(0, rest.find('"'));
    }
  }
  return {};
}

}  // namespace

struct Registry::Sample {
  std::unique_ptr<Counter> counter;
  std::unique_ptr<Gauge> gauge;
  std::unique_ptr<Histogram> histogram;
  std::function<double()> read;

  [[nodiscard]] double value() const {
    if (counter) {
      return static_cast<double>(counter->value());
    }
    return gauge ? static_cast<double>(gauge->value()) : read();
  }
  /// Counters keep all 64 bits, which a double would round.
  [[nodiscard]] std::string text() const {
    return counter ? fmt::format("{}", counter->value()) : number(value());
  }
};

struct Registry::Family {
  std::string help;
  std::string type;
  std::map<std::string, std::unique_ptr<Sample>, std::less<>> samples;
};

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)),
      buckets_(std::make_unique<std::atomic<std::uint64_t>[]>(bounds_.size() + 1)) {
  ZEST_ASSERT(std::is_sorted(bounds_.begin(), bounds_.end()));
}

void Histogram::observe(double value) noexcept {
  auto const at = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  auto const index = static_cast<std::size_t>(std::distance(bounds_.begin(), at));
  buckets_[index].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

double Histogram::sum() const noexcept {
  return sum_.load(std::memory_order_relaxed);
}

std::vector<double> exponential_bounds(double start, double factor, int n) {
  std::vector<double> bounds;
  for (int i = 0; i < n; ++i) {
    bounds.push_back(start);
    start *= factor;
  }
  return bounds;
}

Registry::Registry() = default;
Registry::~Registry() = default;

Registry::Sample& Registry::sample(std::string_view name, std::string_view help,
                                   std::string_view type, std::string_view labels) {
  auto family = families_.find(name);
  if (family == families_.end()) {
    auto fresh = std::make_unique<Family>();
    fresh->help = help;
    fresh->type = type;
    family = families_.emplace(std::string(name), std::move(fresh)).first;
  }
  // One name with two types would be an exposition that no scraper accepts.
  ZEST_ASSERT(family->second->type == type);
  auto& samples = family->second->samples;
  auto found = samples.find(labels);
  if (found == samples.end()) {
    found = samples.emplace(std::string(labels), std::make_unique<Sample>()).first;
  }
  return *found->second;
}

Counter& Registry::counter(std::string_view name, std::string_view help, std::string_view labels) {
  std::lock_guard const lock(mutex_);
  auto& found = sample(name, help, "counter", labels);
  if (!found.counter) {
    found.counter = std::make_unique<Counter>();
  }
  return *found.counter;
}

Gauge& Registry::gauge(std::string_view name, std::string_view help, std::string_view labels) {
  std::lock_guard const lock(mutex_);
  auto& found = sample(name, help, "gauge", labels);
  ZEST_ASSERT(!found.read);  // the same gauge can't be both set and asked for
  if (!found.gauge) {
    found.gauge = std::make_unique<Gauge>();
  }
  return *found.gauge;
}

Histogram& Registry::histogram(std::string_view name, std::string_view help,
                               std::vector<double> bounds, std::string_view labels) {
  std::lock_guard const lock(mutex_);
  auto& found = sample(name, help, "histogram", labels);
  if (!found.histogram) {
    found.histogram = std::make_unique<Histogram>(std::move(bounds));
  }
  return *found.histogram;
}

void Registry::gauge_fn(std::string_view name, std::string_view help, std::function<double()> read,
                        std::string_view labels) {
  std::lock_guard const lock(mutex_);
  auto& found = sample(name, help, "gauge", labels);
  ZEST_ASSERT(!found.gauge);
  found.read = std::move(read);
}

std::string Registry::prometheus(std::string_view common_labels) const {
  std::string out;
  auto const to = std::back_inserter(out);
  std::lock_guard const lock(mutex_);
  for (auto const& [name, family] : families_) {
    fmt::format_to(to, "# HELP {}{} {}\n", kPrefix, name, escaped_help(family->help));
    fmt::format_to(to, "# TYPE {}{} {}\n", kPrefix, name, family->type);
    for (auto const& [own, each] : family->samples) {
      auto const labels = join_labels(common_labels, own);
      if (!each->histogram) {
        fmt::format_to(to, "{}{}{} {}\n", kPrefix, name, braced(labels), each->text());
        continue;
      }
      auto const& histogram = *each->histogram;
      std::uint64_t below = 0;
      for (std::size_t i = 0; i <= histogram.bounds_.size(); ++i) {
        below += histogram.buckets_[i].load(std::memory_order_relaxed);
        auto const bound =
            i < histogram.bounds_.size() ? number(histogram.bounds_[i]) : std::string("+Inf");
        auto const with_bound = join_labels(labels, fmt::format("le=\"{}\"", bound));
        fmt::format_to(to, "{}{}_bucket{} {}\n", kPrefix, name, braced(with_bound), below);
      }
      fmt::format_to(to, "{}{}_sum{} {}\n", kPrefix, name, braced(labels), number(histogram.sum()));
      // The count is that of the buckets just written, so that one scrape agrees with itself.
      fmt::format_to(to, "{}{}_count{} {}\n", kPrefix, name, braced(labels), below);
    }
  }
  return out;
}

std::string Registry::stats() const {
  std::string out;
  auto const to = std::back_inserter(out);
  std::lock_guard const lock(mutex_);
  for (auto const& [name, family] : families_) {
    for (auto const& [labels, each] : family->samples) {
      auto full = fmt::format("{}{}", kPrefix, name);
      // Two labels are part of the name here, all others are not shown (format/07 §5.2).
      for (std::string_view const label : {"method", "errno"}) {
        if (auto const value = label_value(labels, label); !value.empty()) {
          fmt::format_to(std::back_inserter(full), "_{}", value);
        }
      }
      if (each->histogram) {
        fmt::format_to(to, "{}_total {}\n", full, each->histogram->count());
        fmt::format_to(to, "{}_sum {}\n", full, number(each->histogram->sum()));
      } else {
        fmt::format_to(to, "{} {}\n", full, each->text());
      }
    }
  }
  return out;
}

}  // namespace zest

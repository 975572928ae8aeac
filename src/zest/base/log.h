// Structured logging: a level, a sentence, and named fields. The sink is spdlog, hidden in log.cc.
//
//   log.warn("block read failed, trying again", {{"key", key}, {"attempt", n}, {"error",
//   error.text()}});
//
// Log once, where a problem is handled. Never a secret, never the content of a file.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace zest {

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error, off };

/// One name=value pair of a log line; refers to the caller's strings, which need to live only for
/// the call.
struct LogField {
  std::string_view name;
  std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool> value;

  LogField(std::string_view n, std::string_view v) : name(n), value(v) {}
  LogField(std::string_view n, char const* v) : name(n), value(std::string_view(v)) {}
  LogField(std::string_view n, std::string const& v) : name(n), value(std::string_view(v)) {}
  LogField(std::string_view n, bool v) : name(n), value(v) {}
  LogField(std::string_view n, double v) : name(n), value(v) {}
  template <class Integer>
    requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>)
  LogField(std::string_view n, Integer v) : name(n) {
    if constexpr (std::is_signed_v<Integer>) {
      value = static_cast<std::int64_t>(v);
    } else {
      value = static_cast<std::uint64_t>(v);
    }
  }
};

struct LogConfig {
  LogLevel level = LogLevel::info;
  /// Empty: standard error.
  std::string file;
  /// One JSON object a line instead of text.
  bool json = false;
  bool color = true;
};

/// Thread-safe; create one in main (or a test) and pass it by reference.
class Logger {
 public:
  using Fields = std::initializer_list<LogField>;

  explicit Logger(LogConfig config);
  ~Logger();
  Logger(Logger const&) = delete;
  Logger& operator=(Logger const&) = delete;

  void log(LogLevel level, std::string_view message, Fields fields = {});
  void trace(std::string_view m, Fields f = {}) { log(LogLevel::trace, m, f); }
  void debug(std::string_view m, Fields f = {}) { log(LogLevel::debug, m, f); }
  void info(std::string_view m, Fields f = {}) { log(LogLevel::info, m, f); }
  void warn(std::string_view m, Fields f = {}) { log(LogLevel::warn, m, f); }
  void error(std::string_view m, Fields f = {}) { log(LogLevel::error, m, f); }

  /// Cheap test before preparing expensive fields.
  [[nodiscard]] bool enabled(LogLevel level) const noexcept { return level >= level_; }
  /// Lines written at `error` so far; tests demand zero.
  [[nodiscard]] std::uint64_t error_count() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  LogLevel level_;
};

}  // namespace zest

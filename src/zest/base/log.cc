#include "zest/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <utility>

namespace zest {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::trace: return spdlog::level::trace;
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: return spdlog::level::off;
  }
  return spdlog::level::off;
}

/// key=value, quoted with JSON escapes when it holds blanks, quotes or control characters.
void append_text(std::string& line, std::string_view value) {
  bool plain = !value.empty();
  for (char c : value) {
    plain = plain && static_cast<unsigned char>(c) > ' ' && c != '"' && c != '=' && c != '\\' &&
            c != 0x7f;
  }
  if (plain) {
    line += value;
  } else {
    line += nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

std::string format_text(std::string_view message, Logger::Fields fields) {
  std::string line(message);
  for (auto const& field : fields) {
    line += ' ';
    line += field.name;
    line += '=';
    std::visit(
        [&line](auto const& value) {
          using Value = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::string_view>) {
            append_text(line, value);
          } else if constexpr (std::is_same_v<Value, bool>) {
            line += value ? "true" : "false";
          } else {
            line += fmt::format("{}", value);
          }
        },
        field.value);
  }
  return line;
}

std::string format_json(LogLevel level, std::string_view message, Logger::Fields fields) {
  nlohmann::ordered_json object;
  object["level"] = spdlog::level::to_string_view(to_spdlog(level)).data();
  object["message"] = message;
  for (auto const& field : fields) {
    std::visit([&](auto const& value) { object[std::string(field.name)] = value; }, field.value);
  }
  auto text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  // The time goes in front through the sink's pattern; drop the opening brace that the pattern
  // writes.
  return text.substr(1);
}

}  // namespace

struct Logger::Impl {
  std::shared_ptr<spdlog::logger> sink;  // shared: spdlog's own interface demands it
  bool json = false;
  std::atomic<std::uint64_t> errors{0};
};

Logger::Logger(LogConfig config) : impl_(std::make_unique<Impl>()), level_(config.level) {
  spdlog::sink_ptr sink;
  std::string trouble;
  if (!config.file.empty()) {
    try {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(config.file);
    } catch (spdlog::spdlog_ex const& error) {
      trouble =
          error.what();  // a program that cannot write its log file still tells standard error
    }
  }
  if (sink) {
    // The file is open.
  } else if (config.color) {
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  }
  impl_->json = config.json;
  impl_->sink = std::make_shared<spdlog::logger>("zest", std::move(sink));
  impl_->sink->set_level(to_spdlog(config.level));
  impl_->sink->flush_on(spdlog::level::info);
  impl_->sink->set_pattern(config.json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z",%v)"
                                       : "%Y/%m/%d %H:%M:%S.%f %n[%P] <%^%l%$>: %v");
  if (!trouble.empty()) {
    warn("the log file can't be opened, logging to standard error",
         {{"file", config.file}, {"error", trouble}});
  }
}

Logger::~Logger() {
  impl_->sink->flush();
}

std::uint64_t Logger::error_count() const noexcept {
  return impl_->errors;
}

void Logger::log(LogLevel level, std::string_view message, Fields fields) {
  if (level == LogLevel::error) {
    ++impl_->errors;
  }
  if (!enabled(level)) {
    return;
  }
  impl_->sink->log(
      to_spdlog(level), "{}",
      impl_->json ? format_json(level, message, fields) : format_text(message, fields));
}

}  // namespace zest

#include "zest/vfs/access_log.h"

#include <ctime>

#include <algorithm>

#include <fmt/format.h>

#include "zest/runtime/loop.h"

namespace zest::vfs {

namespace {

constexpr std::size_t kLinesMax = 10'240;
constexpr Duration kWaitMax = std::chrono::seconds(1);
constexpr Duration kPoll = std::chrono::milliseconds(50);

/// As ls and Go print a mode: type letter and nine permission letters with s and t.
std::string mode_text(Attr const& attr) {
  constexpr std::string_view kTypes = "?-dlpbcs";
  std::string out(1, kTypes[std::min<std::size_t>(static_cast<std::size_t>(attr.type), 7)]);
  for (int shift = 6; shift >= 0; shift -= 3) {
    auto const bits = static_cast<unsigned>(attr.mode >> shift) & 7U;
    bool const special = (attr.mode & (shift == 6 ? 04000 : shift == 3 ? 02000 : 01000)) != 0;
    char const letter = shift == 0 ? 't' : 's';
    bool const executable = (bits & 1U) != 0;
    out += (bits & 4U) != 0 ? 'r' : '-';
    out += (bits & 2U) != 0 ? 'w' : '-';
    if (special) {
      out += executable ? letter : static_cast<char>(letter - 'a' + 'A');
    } else {
      out += executable ? 'x' : '-';
    }
  }
  return out;
}

}  // namespace

Result<std::string> AccessLogReader::read(Context const& ctx, std::size_t size) {
  auto& loop = *Loop::current();
  auto const until = loop.now() + kWaitMax;
  for (;;) {
    {
      std::lock_guard const lock(mutex_);
      std::string out;
      while (!lines_.empty() && out.size() + lines_.front().size() <= size) {
        out += lines_.front();
        lines_.pop_front();
      }
      if (out.empty() && !lines_.empty()) {
        out = lines_.front().substr(0, size);
        lines_.front().erase(0, size);
      }
      if (!out.empty()) {
        return out;
      }
    }
    if (loop.now() >= until) {
      return std::string("#\n").substr(0, size);
    }
    ZEST_CHECK(loop.sleep_for(ctx, kPoll));
  }
}

std::shared_ptr<AccessLogReader> AccessLog::subscribe() {
  auto reader = std::make_shared<AccessLogReader>();
  std::lock_guard const lock(mutex_);
  readers_.push_back(reader);
  subscribers_.store(readers_.size());
  return reader;
}

void AccessLog::unsubscribe(std::shared_ptr<AccessLogReader> const& reader) {
  std::lock_guard const lock(mutex_);
  std::erase(readers_, reader);
  subscribers_.store(readers_.size());
}

void AccessLog::write(Caller const& caller, Line const& line) {
  std::tm local{};
  auto const seconds = static_cast<std::time_t>(line.end.sec);
  localtime_r(&seconds, &local);
  auto const elapsed = std::chrono::duration<double>(line.elapsed).count();
  auto const text = fmt::format(
      "{:04}.{:02}.{:02} {:02}:{:02}:{:02}.{:06} [uid:{},gid:{},pid:{}] {} {} - {} <{:.6f}>\n",
      local.tm_year + 1900, local.tm_mon + 1, local.tm_mday, local.tm_hour, local.tm_min,
      local.tm_sec, line.end.nsec / 1000, caller.uid, caller.gid, caller.pid, line.op, line.what,
      line.error == 0 ? std::string("OK") : Error(static_cast<Errc>(line.error)).text(), elapsed);
  std::lock_guard const lock(mutex_);
  for (auto const& reader : readers_) {
    std::lock_guard const guard(reader->mutex_);
    if (reader->lines_.size() < kLinesMax) {
      reader->lines_.push_back(text);
    }
  }
}

std::string describe(Ino ino, Attr const& attr) {
  return fmt::format("({},[{}:0{:06o},{},{},{},{},{},{},{}])", ino.value, mode_text(attr),
                     to_mode_bits(attr.type) | attr.mode, attr.nlink, attr.uid, attr.gid,
                     attr.atime.sec, attr.mtime.sec, attr.ctime.sec, attr.length);
}

}  // namespace zest::vfs

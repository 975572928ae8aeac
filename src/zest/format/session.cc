#include "zest/format/session.h"

#include <chrono>

#include <fmt/format.h>

#include "zest/format/go_json.h"
#include "zest/format/json_fields.h"

namespace zest {

namespace {

constexpr std::size_t kSessionSizeMax = 1024 * 1024;

}  // namespace

std::string encode_session(SessionInfo const& session) {
  std::string out = R"({"Version":)";
  append_go_json_string(out, session.version);
  out += R"(,"HostName":)";
  append_go_json_string(out, session.host_name);
  if (!session.ip_addrs.empty()) {
    out += R"(,"IPAddrs":)";
    char separator = '[';
    for (auto const& address : session.ip_addrs) {
      out.push_back(separator);
      append_go_json_string(out, address);
      separator = ',';
    }
    out.push_back(']');
  }
  out += R"(,"MountPoint":)";
  append_go_json_string(out, session.mount_point);
  out += R"(,"MountTime":)";
  append_go_json_string(out, session.mount_time);
  fmt::format_to(std::back_inserter(out), R"(,"ProcessID":{}}})", session.process_id);
  return out;
}

Result<SessionInfo> decode_session(std::string_view json) {
  ZEST_TRY(auto fields, JsonFields::parse(json, "a session record", kSessionSizeMax));
  SessionInfo session;
  fields.read("Version", session.version);
  fields.read("HostName", session.host_name);
  fields.read("IPAddrs", session.ip_addrs);
  fields.read("MountPoint", session.mount_point);
  fields.read("MountTime", session.mount_time);
  fields.read("ProcessID", session.process_id);
  ZEST_CHECK(fields.finish());
  return session;
}

std::string format_rfc3339(WallTime time) {
  using std::chrono::floor;
  auto const instant = std::chrono::sys_seconds(std::chrono::seconds(time.sec));
  auto const day = floor<std::chrono::days>(instant);
  std::chrono::year_month_day const date(day);
  std::chrono::hh_mm_ss const clock(instant - day);
  auto out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                         static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                         clock.hours().count(), clock.minutes().count(), clock.seconds().count());
  if (time.nsec != 0) {
    auto fraction = fmt::format(".{:09}", time.nsec);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    out += fraction;
  }
  out.push_back('Z');
  return out;
}

}  // namespace zest

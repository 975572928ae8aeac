#include "zest/cli/setting_json.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "zest/base/clock.h"
#include "zest/format/session.h"

namespace zest::cli {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(Setting const& setting) {
  // Through the one encoder, so that fields and their order are the stored document's. What it
  // writes is valid; without exceptions a broken one would show as null.
  return Json::parse(encode_setting(redact(setting)), nullptr, false);
}

Json to_json(meta::SessionEntry const& session) {
  Json out{{"Sid", session.session.value},
           {"Expire", format_rfc3339({.sec = session.record.expire_sec, .nsec = 0})}};
  auto info = Json::parse(session.record.info, nullptr, false);
  if (info.is_object()) {
    out.update(info);
  }
  return out;
}

std::string text(Json const& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string setting_json(Setting const& setting) {
  return text(to_json(setting));
}

std::string status_json(admin::VolumeStatus const& status) {
  auto sessions = Json::array();
  for (auto const& session : status.sessions) {
    sessions.push_back(to_json(session));
  }
  auto const& stat = status.stat;
  Json const out{{"Setting", to_json(status.setting)},
                 {"Sessions", std::move(sessions)},
                 {"Stat",
                  {{"UsedSpace", stat.total_space - stat.available_space},
                   {"AvailableSpace", stat.available_space},
                   {"UsedInodes", stat.used_inodes},
                   {"AvailableInodes", stat.available_inodes}}}};
  return text(out);
}

}  // namespace zest::cli

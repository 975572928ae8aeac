// A Setting and a status for people and scripts, as the peer prints them.
#pragma once

#include <string>

#include "zest/admin/status.h"
#include "zest/format/setting.h"

namespace zest::cli {

/// The document with two spaces of indentation, secrets as `removed`.
std::string setting_json(Setting const& setting);

/// `{"Setting", "Sessions", "Stat"}` with the peer's keys (format/08 §3). A session's record that
/// cannot be read is shown with its id and expiry only.
std::string status_json(admin::VolumeStatus const& status);

}  // namespace zest::cli

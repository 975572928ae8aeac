// Directories that a command needs in a volume which may not be mounted anywhere.
#pragma once

#include <string_view>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/format/setting.h"
#include "zest/meta/engine.h"

namespace zest::admin {

/// What a short-lived metadata client is made of.
struct MetaParts {
  meta::Engine& engine;
  Setting const& setting;
  Clock const& clock;
  Rng& rng;
  Logger& log;
  Registry& metrics;
};

/// Creates what is missing of an absolute path and returns the last one's inode; they belong to the
/// user of this process. Opens a session meanwhile. May suspend.
Result<Ino> make_directories(Context const& ctx, MetaParts const& parts, std::string_view path);

}  // namespace zest::admin

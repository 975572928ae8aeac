// What `zest status` tells about a volume.
#pragma once

#include <vector>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/format/setting.h"
#include "zest/meta/engine.h"
#include "zest/meta/meta.h"

namespace zest::admin {

struct VolumeStatus {
  Setting setting;  ///< redacted
  std::vector<meta::SessionEntry> sessions;
  meta::StatfsReply stat;
};

/// Reads Setting, sessions and usage; opens no session of its own. Errors as load_setting.
Result<VolumeStatus> volume_status(Context const& ctx, meta::Engine& engine, Clock const& clock,
                                   Rng& rng, Logger& log, Registry& metrics);

}  // namespace zest::admin

#include "zest/admin/status.h"

#include <utility>

#include "zest/admin/volume.h"

namespace zest::admin {

Result<VolumeStatus> volume_status(Context const& ctx, meta::Engine& engine, Clock const& clock,
                                   Rng& rng, Logger& log, Registry& metrics) {
  ZEST_TRY(auto setting, load_setting(ctx, engine));
  VolumeStatus status{.setting = redact(setting)};
  ZEST_TRY(status.sessions, engine.list_sessions(ctx));
  // Never started: no session, no jobs; statfs() needs only the Setting and the counters.
  meta::Meta meta(engine, std::move(setting), {.read_only = true, .background_jobs = false}, clock,
                  rng, log, metrics);
  ZEST_TRY(status.stat, meta.statfs(ctx));
  return status;
}

}  // namespace zest::admin

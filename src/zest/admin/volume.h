// Creating a volume, loading and changing its Setting. Engine and store are whatever the caller
// built.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "zest/admin/setting_update.h"
#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/format/setting.h"
#include "zest/meta/engine.h"
#include "zest/object/store.h"

namespace zest::admin {

/// Builds the volume's store, with the prefix `{Name}/` applied. Secrets in the Setting are plain.
using OpenStore = std::function<Result<std::unique_ptr<ObjectStore>>(Setting const&)>;

/// How admin reaches what it works on.
struct Access {
  meta::Engine& engine;
  OpenStore open_store;
  Rng& rng;
  Clock const& clock;
};

struct FormatRequest {
  SettingChanges changes;  ///< with a name
  bool force = false;      ///< allow what check_unchangeable refuses and a prefix that is not empty
  bool no_update = false;  ///< leave an existing volume as it is
  bool check_storage = true;
};
struct FormatReply {
  enum class Outcome { created, updated, unchanged };
  Outcome outcome = Outcome::created;
  Setting setting;      ///< as stored
  std::string storage;  ///< where the data are, for people; empty when unchanged
};

/// Creates a volume, or updates the Setting of the one that is there (format/00 §5).
///
/// EPERM: a change that is not possible; EEXIST: the prefix in the store holds objects of something
/// else; errors of store and engine. Nothing is written to the engine before the store was found
/// good. May suspend.
Result<FormatReply> format_volume(Context const& ctx, Access const& access,
                                  FormatRequest const& request);

/// The Setting as stored (secrets as they are). ENOENT when the database holds no volume; EPERM
/// when it's of a newer format or demands other clients; all with messages that say what to do.
Result<Setting> load_setting(Context const& ctx, meta::Engine& engine);

struct ConfigRequest {
  SettingChanges changes;
  bool force = false;  ///< skip the storage test and the check of usage against new limits
};
struct ConfigReply {
  Setting setting;
  std::vector<SettingDifference> changed;
};
/// Changes the Setting of an existing volume. A new storage place is tested first; new limits below
/// the usage are refused (EDQUOT).
Result<ConfigReply> config_volume(Context const& ctx, Access const& access,
                                  ConfigRequest const& request);

/// A random UUID (version 4) as text.
Result<std::string> random_uuid();

}  // namespace zest::admin

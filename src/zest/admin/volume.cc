#include "zest/admin/volume.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "zest/admin/quota.h"
#include "zest/base/bytes.h"
#include "zest/format/types.h"
#include "zest/object/check_store.h"

namespace zest::admin {
namespace {

constexpr std::string_view kUuidObject = "juicefs_uuid";

/// The directory that a new volume starts with (format/00 §5.6).
Attr directory(Clock const& clock, std::uint16_t mode) {
  auto const now = clock.wall();
  Attr attr;
  attr.type = FileType::directory;
  attr.mode = mode;
  attr.nlink = 2;
  attr.length = 4096;
  attr.parent = kRootIno;
  attr.atime = now;
  attr.mtime = now;
  attr.ctime = now;
  return attr;
}

std::optional<Attr> trash_of(Setting const& setting, Clock const& clock) {
  if (setting.trash_days <= 0) {
    return std::nullopt;
  }
  return directory(clock, 0555);
}

/// A new volume must not mix with objects of another one that had the same name.
Result<void> check_empty(Context const& ctx, ObjectStore& store) {
  ZEST_TRY(bool const empty, is_empty_prefix(ctx, store));
  if (!empty) {
    return Error(Errc::exist, Fault::semantic,
                 fmt::format("{} is not empty: choose another volume name, clean it up, or use "
                             "--force",
                             store.describe()));
  }
  return {};
}

Result<void> put_uuid(Context const& ctx, ObjectStore& store, std::string const& uuid) {
  std::array const parts{as_bytes(uuid)};
  auto put = store.put(ctx, kUuidObject, parts);
  if (!put.ok()) {
    return std::move(put).error().with("write " + store.describe() + std::string(kUuidObject));
  }
  std::array const keys{std::string(kUuidObject)};
  return store.sync(ctx, keys);
}

Result<std::unique_ptr<ObjectStore>> open_plain(Access const& access, Setting setting) {
  ZEST_CHECK(decrypt_secrets(setting));
  return access.open_store(setting);
}

/// Makes the Setting durable. Two `config` at the same time: the later one wins, as with the peer.
Result<void> store_setting(Context const& ctx, Access const& access, Setting const& setting) {
  ZEST_CHECK(access.engine.initialize(ctx, encode_setting(setting), directory(access.clock, 0777),
                                      trash_of(setting, access.clock)));
  return access.engine.sync(ctx);
}

Result<FormatReply> create_volume(Context const& ctx, Access const& access,
                                  FormatRequest const& request) {
  ZEST_TRY(auto uuid, random_uuid());
  FormatReply reply{.setting = new_setting(std::move(uuid))};
  auto changes = request.changes;
  changes.encrypt_secret = true;
  ZEST_CHECK(apply_changes(reply.setting, changes));
  ZEST_TRY(auto store, open_plain(access, reply.setting));
  if (request.check_storage) {
    ZEST_CHECK(check_store(ctx, *store, access.rng));
  }
  if (!request.force) {
    ZEST_CHECK(check_empty(ctx, *store));
  }
  ZEST_CHECK(put_uuid(ctx, *store, reply.setting.uuid));
  ZEST_CHECK(store_setting(ctx, access, reply.setting));
  reply.storage = store->describe();
  return reply;
}

Result<FormatReply> update_volume(Context const& ctx, Access const& access,
                                  FormatRequest const& request, Setting before) {
  FormatReply reply{.outcome = FormatReply::Outcome::unchanged, .setting = std::move(before)};
  if (request.no_update) {
    return reply;
  }
  auto after = reply.setting;
  ZEST_CHECK(apply_changes(after, request.changes));
  if (!request.force) {
    ZEST_CHECK(check_unchangeable(reply.setting, after));
  }
  ZEST_TRY(auto store, open_plain(access, after));
  if (request.check_storage) {
    ZEST_CHECK(check_store(ctx, *store, access.rng));
  }
  ZEST_CHECK(store_setting(ctx, access, after));
  reply.outcome = FormatReply::Outcome::updated;
  reply.setting = std::move(after);
  reply.storage = store->describe();
  return reply;
}

Result<void> check_usage(Context const& ctx, meta::Engine& engine, SettingChanges const& changes) {
  ZEST_TRY(auto const usage, engine.read_usage(ctx));
  auto const space = static_cast<std::uint64_t>(std::max<std::int64_t>(usage.space, 0));
  auto const inodes = static_cast<std::uint64_t>(std::max<std::int64_t>(usage.inodes, 0));
  auto const capacity = changes.capacity_bytes.value_or(0);
  if (capacity != 0 && capacity < space) {
    return Error(Errc::dquot, Fault::semantic,
                 fmt::format("--capacity {} is below the {} bytes in use (--force sets it anyway)",
                             capacity, space));
  }
  auto const limit = changes.inodes.value_or(0);
  if (limit != 0 && limit < inodes) {
    return Error(Errc::dquot, Fault::semantic,
                 fmt::format("--inodes {} is below the {} inodes in use (--force sets it anyway)",
                             limit, inodes));
  }
  return {};
}

Result<void> check_no_directory_quotas(Context const& ctx, meta::Engine& engine) {
  ZEST_TRY(auto const quotas, engine.list_quotas(ctx));
  auto const dirs = std::ranges::count_if(
      quotas, [](auto const& entry) { return entry.key.type == QuotaType::directory; });
  if (dirs > 0) {
    return Error(Errc::busy, Fault::semantic,
                 fmt::format("--dir-stats cannot be switched off while {} directories have quotas "
                             "(`zest quota list`)",
                             dirs));
  }
  return {};
}

bool moves_storage(SettingChanges const& changes) {
  return changes.storage || changes.bucket || changes.access_key || changes.secret_key ||
         changes.session_token;
}

}  // namespace

Result<FormatReply> format_volume(Context const& ctx, Access const& access,
                                  FormatRequest const& request) {
  ZEST_TRY(auto document, access.engine.load_setting(ctx));
  if (!document) {
    return create_volume(ctx, access, request);
  }
  ZEST_TRY(auto before, decode_setting(*document));
  ZEST_CHECK(check_client_version(before, kCompatibleVersion));
  return update_volume(ctx, access, request, std::move(before));
}

Result<Setting> load_setting(Context const& ctx, meta::Engine& engine) {
  ZEST_TRY(auto document, engine.load_setting(ctx));
  if (!document) {
    return Error(Errc::noent, Fault::semantic,
                 "there is no volume in this database: create one with `zest format`");
  }
  ZEST_TRY(auto setting, decode_setting(*document));
  ZEST_CHECK(check_client_version(setting, kCompatibleVersion));
  return setting;
}

Result<ConfigReply> config_volume(Context const& ctx, Access const& access,
                                  ConfigRequest const& request) {
  ZEST_TRY(auto const before, load_setting(ctx, access.engine));
  auto after = before;
  ZEST_CHECK(apply_changes(after, request.changes));
  ZEST_CHECK(check_unchangeable(before, after));
  if (!before.dir_stats && after.dir_stats) {
    return Error(Errc::notsup, Fault::semantic,
                 "--dir-stats cannot be switched on again by this version: it cannot recompute the "
                 "statistics of all directories");
  }
  ConfigReply reply{.setting = after, .changed = differences(before, after)};
  if (after == before) {
    return reply;
  }
  if (!request.force) {
    ZEST_CHECK(check_usage(ctx, access.engine, request.changes));
    if (moves_storage(request.changes)) {
      ZEST_TRY(auto store, open_plain(access, after));
      ZEST_CHECK(check_store(ctx, *store, access.rng));
    }
  }
  if (before.dir_stats && !after.dir_stats) {
    ZEST_CHECK(check_no_directory_quotas(ctx, access.engine));
  }
  ZEST_CHECK(store_setting(ctx, access, after));
  if (!before.user_group_quota && after.user_group_quota) {
    ZEST_CHECK(recount_owners(ctx, access.engine));
  }
  return reply;
}

Result<std::string> random_uuid() {
  std::array<unsigned char, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return Error::from_errno(errno, "read random numbers for the volume's UUID");
  }
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0F) | 0x40);  // version 4
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3F) | 0x80);  // RFC 4122 variant
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text += (i == 4 || i == 6 || i == 8 || i == 10) ? "-" : "";
    text += fmt::format("{:02x}", bytes[i]);
  }
  return text;
}

}  // namespace zest::admin

#include "zest/vfs/internal_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "zest/format/setting.h"

namespace zest::vfs {

namespace {

std::int64_t nanoseconds(Duration duration) {
  return duration.count();
}

nlohmann::ordered_json chunk_section(BlockStoreConfig const& config, BufferPool const& buffers,
                                     VfsConfig const& vfs) {
  return {{"CacheDir", "memory"},
          {"CacheSize", config.cache_bytes},
          {"Compress", config.compression},
          {"MaxUpload", config.uploads_max},
          {"MaxDownload", config.downloads_max},
          {"MaxRetries", config.retries},
          {"Writeback", false},
          {"HashPrefix", config.hash_prefix},
          {"BlockSize", config.block_size},
          {"GetTimeout", nanoseconds(config.get_timeout)},
          {"PutTimeout", nanoseconds(config.put_timeout)},
          {"BufferSize", buffers.limit()},
          {"Readahead", vfs.readahead_max}};
}

}  // namespace

InternalFiles::InternalFiles(Env& env, AccessLog& access_log)
    : env_(env),
      access_log_(access_log),
      prefix_(env.config.prefix_internal ? ".jfs" : ""),
      trash_name_(prefix_ + ".trash"),
      mounted_(SystemClock().wall()),
      uid_(::getuid()),
      gid_(::getgid()) {}

bool InternalFiles::reserved(Ino parent, std::string_view name) const noexcept {
  if (parent.value > kRootIno.value || !name.starts_with(prefix_)) {
    return false;
  }
  name.remove_prefix(prefix_.size());
  return name == ".accesslog" || name == ".control" || name == ".stats" || name == ".config" ||
         name == ".trash";
}

std::optional<Ino> InternalFiles::find(Ino parent, std::string_view name) const noexcept {
  if (!reserved(parent, name)) {
    return std::nullopt;
  }
  name.remove_prefix(prefix_.size());
  if (name == ".accesslog") {
    return kAccessLogIno;
  }
  if (name == ".control") {
    return kControlIno;
  }
  if (name == ".stats") {
    return kStatsIno;
  }
  if (name == ".config") {
    return kConfigIno;
  }
  if (name == ".trash" && !prefix_.empty()) {
    return kTrashIno;
  }
  return std::nullopt;
}

std::optional<Ino> InternalFiles::find_anywhere(std::string_view name) const noexcept {
  return name == prefix_ + ".control" ? std::optional(kControlIno) : std::nullopt;
}

Attr InternalFiles::attr(Ino ino) const {
  constexpr std::uint16_t kForAll = 0666;
  Attr out{.type = FileType::regular,
           .mode = static_cast<std::uint16_t>(ino == kStatsIno ? 0444 : 0400),
           .uid = uid_,
           .gid = gid_,
           .atime = mounted_,
           .mtime = mounted_,
           .ctime = mounted_,
           .nlink = 1,
           .parent = kRootIno};
  if (ino == kControlIno) {
    out.mode = kForAll;
  }
  if (ino == kConfigIno) {
    out.length = config_size_.load();
  }
  return out;
}

Result<std::shared_ptr<InternalHandle>> InternalFiles::open(Ino ino, std::uint32_t flags) {
  if ((flags & O_ACCMODE) != O_RDONLY && ino != kControlIno) {
    return Errc::acces;
  }
  auto handle = std::make_shared<InternalHandle>();
  handle->ino = ino;
  if (ino == kControlIno) {
    handle->control = std::make_shared<ControlSession>(env_);
  } else if (ino == kStatsIno) {
    handle->snapshot = env_.services.metrics.stats();
  } else if (ino == kConfigIno) {
    handle->snapshot = config_json();
    config_size_.store(handle->snapshot.size());
  } else {
    handle->lines = access_log_.subscribe();
  }
  return handle;
}

void InternalFiles::close(InternalHandle const& handle) {
  if (handle.lines) {
    access_log_.unsubscribe(handle.lines);
  }
  if (handle.control) {
    handle.control->stop();
  }
}

Result<DataView> InternalFiles::read(Context const& ctx, InternalHandle const& handle,
                                     std::uint64_t offset, std::size_t size) {
  if (handle.control) {
    return handle.control->read(offset, size);
  }
  auto text = std::make_shared<std::string>();
  if (handle.lines) {
    ZEST_TRY(*text, handle.lines->read(ctx, size));
  } else if (offset < handle.snapshot.size()) {
    *text = handle.snapshot.substr(static_cast<std::size_t>(offset), size);
  }
  DataView out;
  if (!text->empty()) {
    out.append(as_bytes(*text), text);
  }
  return out;
}

std::vector<InternalFiles::Listed> InternalFiles::listed() const {
  if (env_.config.hide_internal) {
    return {};
  }
  return {{.name = prefix_ + ".accesslog", .ino = kAccessLogIno},
          {.name = prefix_ + ".stats", .ino = kStatsIno},
          {.name = prefix_ + ".config", .ino = kConfigIno}};
}

std::string InternalFiles::config_json() const {
  using Json = nlohmann::ordered_json;
  auto const& config = env_.config;
  auto const& blocks = env_.services.blocks;
  auto const setting = encode_setting(redact(env_.services.meta.setting()));
  Json out;
  out["Meta"] = {{"ReadOnly", config.read_only},
                 {"NoBGJob", !config.background_jobs},
                 {"MaxDeletes", config.deletions_max},
                 {"MountPoint", config.mount_point},
                 {"Sid", env_.services.meta.session().value}};
  out["Format"] = Json::parse(setting, nullptr, /*allow_exceptions=*/false);
  out["Chunk"] = chunk_section(blocks.config(), env_.services.blocks.buffers(), config);
  out["Version"] = config.version;
  out["AttrTimeout"] = nanoseconds(config.attr_timeout);
  out["DirEntryTimeout"] = nanoseconds(config.dir_entry_timeout);
  out["NegEntryTimeout"] = nanoseconds(config.negative_timeout);
  out["EntryTimeout"] = nanoseconds(config.entry_timeout);
  out["PrefixInternal"] = config.prefix_internal;
  out["HideInternal"] = config.hide_internal;
  out["Pid"] = ::getpid();
  out["PPid"] = ::getppid();
  out["Mountpoint"] = config.mount_point;
  // Names and paths may hold any bytes; broken UTF-8 is replaced instead of thrown.
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace zest::vfs

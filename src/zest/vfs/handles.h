// The open handles of a mounted volume.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <variant>

#include "zest/vfs/dir_stream.h"
#include "zest/vfs/file_reader.h"
#include "zest/vfs/file_state.h"
#include "zest/vfs/internal_files.h"

namespace zest::vfs {

/// An open regular file.
struct FileHandle {
  FileHandle(FilePtr opened, std::uint32_t open_flags)
      : file(std::move(opened)), flags(open_flags) {}
  FilePtr const file;
  std::uint32_t const flags;  ///< O_*
  ReadAhead ahead;
  std::atomic<bool> flocked{false};
  std::atomic<std::uint64_t> flock_owner{0};
  /// The session in which the flock was taken; 0 = none is held.
  std::atomic<std::uint64_t> flock_session{0};
  /// Who took POSIX locks through this handle last; see FileState::lock_owners.
  std::atomic<std::uint64_t> plock_owner{0};
};

// Shared because a request under way keeps its handle while another one releases it.
using AnyHandle = std::variant<std::shared_ptr<FileHandle>, std::shared_ptr<DirStream>,
                               std::shared_ptr<InternalHandle>>;

/// Handle numbers to open things; sharded, any thread, never suspends. Numbers are never reused.
class HandleTable {
 public:
  Handle add(AnyHandle opened) {
    Handle const handle{next_.fetch_add(1, std::memory_order_relaxed)};
    auto& s = shard(handle);
    std::lock_guard const lock(s.mutex);
    s.handles.emplace(handle.value, std::move(opened));
    return handle;
  }
  /// The open thing, or nullptr when the handle is unknown or of another kind.
  template <class T>
  [[nodiscard]] std::shared_ptr<T> find(Handle handle) {
    auto& s = shard(handle);
    std::lock_guard const lock(s.mutex);
    auto const it = s.handles.find(handle.value);
    if (it == s.handles.end()) {
      return nullptr;
    }
    auto const* found = std::get_if<std::shared_ptr<T>>(&it->second);
    return found == nullptr ? nullptr : *found;
  }
  /// Removes the handle if it is of this kind.
  template <class T>
  std::shared_ptr<T> remove(Handle handle) {
    auto& s = shard(handle);
    std::lock_guard const lock(s.mutex);
    auto const it = s.handles.find(handle.value);
    if (it == s.handles.end()) {
      return nullptr;
    }
    auto const* found = std::get_if<std::shared_ptr<T>>(&it->second);
    if (found == nullptr) {
      return nullptr;
    }
    auto out = *found;
    s.handles.erase(it);
    return out;
  }

 private:
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, AnyHandle> handles;
  };
  Shard& shard(Handle handle) noexcept { return shards_[handle.value % shards_.size()]; }

  std::atomic<std::uint64_t> next_{1};
  std::array<Shard, 16> shards_;
};

}  // namespace zest::vfs

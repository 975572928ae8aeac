#include "zest/meta/engine/counters.h"

#include "zest/format/counter_name.h"

namespace zest::meta {

std::string_view counter_of(IdKind kind) noexcept {
  switch (kind) {
    case IdKind::inode: return kNextInode;
    case IdKind::slice: return kNextChunk;
    case IdKind::session: return kNextSession;
    case IdKind::trash: return kNextTrash;
  }
  __builtin_unreachable();
}

std::string_view counter_of(Lease lease) noexcept {
  switch (lease) {
    case Lease::cleanup_sessions: return kLastCleanupSessions;
    case Lease::cleanup_files: return kLastCleanupFiles;
    case Lease::cleanup_trash: return kLastCleanupTrash;
    case Lease::cleanup_changelog: return kLastCleanupChangeLog;
    case Lease::cleanup_slices: return kNextCleanupSlices;
  }
  __builtin_unreachable();
}

StoredIds stored_ids(IdKind kind) noexcept {
  switch (kind) {
    case IdKind::inode: return {.initial = 2, .first_offset = 0};
    case IdKind::slice: return {.initial = 1, .first_offset = 0};
    case IdKind::session:
    case IdKind::trash: return {.initial = 0, .first_offset = 1};
  }
  __builtin_unreachable();
}

}  // namespace zest::meta

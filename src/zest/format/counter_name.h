// Names of the volume's counters (format/00 §3).
#pragma once

#include <cstdint>
#include <string_view>

namespace zest {

constexpr std::string_view kNextInode = "nextInode";
constexpr std::string_view kNextChunk = "nextChunk";
constexpr std::string_view kNextSession = "nextSession";
constexpr std::string_view kNextTrash = "nextTrash";
constexpr std::string_view kUsedSpace = "usedSpace";
constexpr std::string_view kTotalInodes = "totalInodes";
constexpr std::string_view kAclMaxId = "aclMaxId";
constexpr std::string_view kTokenMaxId = "krbTokenMaxId";
constexpr std::string_view kLastCleanupSessions = "lastCleanupSessions";
constexpr std::string_view kLastCleanupFiles = "lastCleanupFiles";
constexpr std::string_view kLastCleanupTrash = "lastCleanupTrash";
constexpr std::string_view kLastCleanupChangeLog = "lastCleanupChangelog";
constexpr std::string_view kNextCleanupSlices = "nextCleanupSlices";

/// Ids that one client takes from a counter at once.
constexpr std::uint64_t kInodeBatch = 1024;
constexpr std::uint64_t kSliceBatch = 4096;

}  // namespace zest

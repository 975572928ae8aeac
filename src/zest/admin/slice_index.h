// Which slices a volume has, for gc: too many for a map in memory, looked up by id.
//
// Sixteen bytes a slice. They gather in memory; each time the limit is reached they are sorted and
// written to a temporary file without a name, which is mapped for the look-up (so its memory is the
// page cache's). A look-up is one binary search a run of the file.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "zest/base/result.h"
#include "zest/base/types.h"
#include "zest/runtime/socket.h"

namespace zest::admin {

/// What keeps a slice alive; of several the first counts.
enum class SliceUse : std::uint8_t {
  file,     ///< a chunk names it
  delayed,  ///< a compaction replaced it, and the trash period keeps it
  pending,  ///< nobody names it any more: it waits for its deletion
};

struct IndexedSlice {
  std::uint64_t id = 0;
  std::uint32_t size = 0;
  SliceUse use = SliceUse::file;
};

/// Blocks in add() and finish() when it writes: call on a pool thread. One thread at a time.
class SliceIndex {
 public:
  /// At most `memory_max` slices in memory; the file is made in `directory`.
  SliceIndex(std::string directory, std::size_t memory_max);
  ~SliceIndex();
  SliceIndex(SliceIndex const&) = delete;
  SliceIndex& operator=(SliceIndex const&) = delete;

  Result<void> add(std::span<IndexedSlice const> slices);
  /// Call once after the last add().
  Result<void> finish();
  [[nodiscard]] std::optional<IndexedSlice> find(SliceId id) const;
  /// Records that were added; a slice that several chunks name counts each time.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Bytes of the temporary file.
  [[nodiscard]] std::uint64_t spilled() const noexcept;

 private:
  using Run = std::span<IndexedSlice const>;
  void sort();
  Result<void> spill();

  std::string directory_;
  std::size_t memory_max_;
  std::vector<IndexedSlice> recent_;
  UniqueFd file_;
  std::vector<std::size_t> run_sizes_;
  void* map_ = nullptr;
  std::vector<Run> runs_;
  std::uint64_t size_ = 0;
};

}  // namespace zest::admin

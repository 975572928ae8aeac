// Compaction: many slices of a chunk become one (format/06 §4).
//
// The merged slice is stored first and then takes the place of the records it was made from, in one
// commit that holds only if the chunk still begins with them. So writers may append meanwhile, and
// a crash in between leaves objects that nobody names, which gc finds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/chunk/block_store.h"
#include "zest/format/types.h"
#include "zest/meta/meta.h"

namespace zest {

enum class Compaction : std::uint8_t {
  in_proportion,  ///< in the background: only what worth_compacting() says
  whole,          ///< on request: whatever shrinks the list
};

struct CompactionRequest {
  meta::ChunkKey key;
  Compaction which = Compaction::whole;
  /// The new slice survives a power cut before the old ones lose their records.
  bool durable = true;
};

/// True when compaction of these records would shrink the list, at a cost that is in proportion.
bool worth_compacting(std::span<SliceRecord const> slices);

struct CompactionReply {
  std::size_t replaced = 0;          ///< records; 0 = there was nothing to do
  std::uint32_t bytes = 0;           ///< of the slice that was made
  std::vector<DelayedSlice> unused;  ///< whose objects the caller deletes and then forgets
};

/// Merges at most the first thousand records of a chunk, once; memory is bounded by some blocks.
///
/// Errors: those of store and engine; ENOENT when the file or an object is gone; EINVAL when the
/// chunk was changed meanwhile otherwise than by appends. May suspend.
Result<CompactionReply> compact_chunk(Context const& ctx, meta::Meta& meta, BlockStore& blocks,
                                      CompactionRequest const& request);

}  // namespace zest

// Names of objects: blocks, shards, temporary files of the `file` storage (format/00 §1.2–1.4).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/base/types.h"

namespace zest {

/// One block of a slice as its object's name tells it.
struct BlockRef {
  SliceId id;
  std::uint32_t index = 0;
  std::uint32_t size = 0;  ///< plain bytes
  friend bool operator==(BlockRef const&, BlockRef const&) = default;
};

/// The key of a block without the volume's `{Name}/`, such as `chunks/1/1234/1234567_0_4194304`.
std::string block_key(SliceId id, std::uint32_t index, std::uint32_t size, bool hash_prefix);

/// The inverse of block_key; EINVAL for every text that block_key would not make.
Result<BlockRef> parse_block_key(std::string_view key, bool hash_prefix);

/// Blocks of a slice; `block_size` > 0.
std::uint32_t block_count(std::uint32_t slice_size, std::uint32_t block_size) noexcept;

/// Plain bytes of block `index`; 0 beyond the last.
std::uint32_t block_length(std::uint32_t slice_size, std::uint32_t block_size,
                           std::uint32_t index) noexcept;

/// Which of `shards` (> 0) buckets keeps `key`; `key` includes `{Name}/`. FNV-1a, 32 bits.
std::uint32_t shard_of(std::string_view key, std::uint32_t shards) noexcept;

/// Expands the one integer verb (%d, %3d, %02d, %x, %X, %o) of a sharded volume's Bucket; %% is a
/// percent sign. EINVAL when there is no verb, more than one or another one.
Result<std::string> shard_bucket(std::string_view pattern, std::uint32_t shard);

/// Name of the temporary sibling that becomes `base_name` by a rename: `.jfs.{base_name, cut at
/// 200}.tmp.{random}`.
std::string temp_object_name(std::string_view base_name, std::uint64_t random);

/// True for what temp_object_name makes; listings leave these out.
bool is_temp_object_name(std::string_view base_name) noexcept;

}  // namespace zest

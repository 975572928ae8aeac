// Bytes that live somewhere else: pieces of cached blocks, of pending writes, of zeros. Lets a read
// travel from the cache to the kernel without a copy in between.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "zest/base/bytes.h"

namespace zest {

class DataView {
 public:
  struct Piece {
    ByteView bytes;
    std::shared_ptr<void const>
        owner;  ///< keeps `bytes` alive; shared because cache and readers hold a block at once
  };

  /// Appends bytes that `owner` keeps alive (empty owner: static memory).
  void append(ByteView bytes, std::shared_ptr<void const> owner);
  /// Appends `n` zero bytes.
  void append_zeros(std::size_t n);
  void append(DataView&& other);

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::vector<Piece> const& pieces() const noexcept { return pieces_; }
  /// Copies everything to the front of `out`, which is at least size() long.
  void copy_to(ByteSpan out) const noexcept;
  /// Drops everything behind the first `n` bytes.
  void truncate(std::size_t n);

 private:
  std::vector<Piece> pieces_;
  std::size_t size_ = 0;
};

}  // namespace zest

#include "zest/chunk/data_view.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <utility>

namespace zest {
namespace {

// One piece covers the usual read of 128 KiB in two; never written, so it stays in the zero page.
constexpr std::size_t kZeroBytes = 64 * 1024;
constexpr std::array<std::byte, kZeroBytes> kZeros{};

}  // namespace

void DataView::append(ByteView bytes, std::shared_ptr<void const> owner) {
  if (!bytes.empty()) {
    size_ += bytes.size();
    pieces_.push_back({.bytes = bytes, .owner = std::move(owner)});
  }
}

void DataView::append_zeros(std::size_t n) {
  while (n > 0) {
    auto const step = std::min(n, kZeroBytes);
    append(ByteView(kZeros).first(step), nullptr);
    n -= step;
  }
}

void DataView::append(DataView&& other) {
  size_ += std::exchange(other.size_, 0);
  if (pieces_.empty()) {
    pieces_ = std::exchange(other.pieces_, {});
    return;
  }
  pieces_.insert(pieces_.end(), std::make_move_iterator(other.pieces_.begin()),
                 std::make_move_iterator(other.pieces_.end()));
  other.pieces_.clear();
}

void DataView::copy_to(ByteSpan out) const noexcept {
  for (auto const& piece : pieces_) {
    std::memcpy(out.data(), piece.bytes.data(), piece.bytes.size());
    out = out.subspan(piece.bytes.size());
  }
}

void DataView::truncate(std::size_t n) {
  while (size_ > n) {
    auto& last = pieces_.back();
    auto const excess = size_ - n;
    if (last.bytes.size() <= excess) {
      size_ -= last.bytes.size();
      pieces_.pop_back();
    } else {
      last.bytes = last.bytes.first(last.bytes.size() - excess);
      size_ = n;
    }
  }
}

}  // namespace zest

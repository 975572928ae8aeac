#include "zest/admin/slice_index.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <numeric>
#include <tuple>
#include <utility>

namespace zest::admin {

static_assert(sizeof(IndexedSlice) == 16);

SliceIndex::SliceIndex(std::string directory, std::size_t memory_max)
    : directory_(std::move(directory)), memory_max_(std::max<std::size_t>(memory_max, 1)) {}

SliceIndex::~SliceIndex() {
  if (map_ != nullptr) {
    ::munmap(map_, spilled());
  }
}

std::uint64_t SliceIndex::spilled() const noexcept {
  return sizeof(IndexedSlice) *
         std::accumulate(run_sizes_.begin(), run_sizes_.end(), std::uint64_t{0});
}

Result<void> SliceIndex::add(std::span<IndexedSlice const> slices) {
  for (auto const& slice : slices) {
    if (recent_.size() >= memory_max_) {
      ZEST_CHECK(spill());
    }
    recent_.push_back(slice);
    ++size_;
  }
  return {};
}

void SliceIndex::sort() {
  std::ranges::sort(recent_, {}, [](IndexedSlice const& slice) {
    return std::tuple(slice.id, slice.use, slice.size);
  });
  auto const same = std::ranges::unique(recent_, {}, &IndexedSlice::id);
  recent_.erase(same.begin(), same.end());
}

Result<void> SliceIndex::spill() {
  sort();
  if (!file_) {
    auto name = directory_ + "/zest-gc-XXXXXX";
    file_ = UniqueFd(::mkstemp(name.data()));
    if (!file_) {
      return Error::from_errno(errno, directory_ + ": no temporary file for the list of slices");
    }
    ::unlink(name.c_str());
  }
  auto const bytes = std::as_bytes(std::span<IndexedSlice const>(recent_));
  for (std::size_t done = 0; done < bytes.size();) {
    auto const written = ::write(file_.get(), bytes.data() + done, bytes.size() - done);
    if (written < 0) {
      return Error::from_errno(errno, directory_ + ": writing the list of slices");
    }
    done += static_cast<std::size_t>(written);
  }
  run_sizes_.push_back(recent_.size());
  recent_.clear();
  return {};
}

Result<void> SliceIndex::finish() {
  sort();
  if (!run_sizes_.empty()) {
    void* const map = ::mmap(nullptr, spilled(), PROT_READ, MAP_SHARED, file_.get(), 0);
    if (map == MAP_FAILED) {
      return Error::from_errno(errno, directory_ + ": mapping the list of slices");
    }
    map_ = map;
    auto const* next = static_cast<IndexedSlice const*>(map_);
    for (auto const size : run_sizes_) {
      runs_.emplace_back(next, size);
      next += size;
    }
  }
  runs_.emplace_back(recent_);
  return {};
}

std::optional<IndexedSlice> SliceIndex::find(SliceId id) const {
  std::optional<IndexedSlice> found;
  for (auto const& run : runs_) {
    auto const it = std::ranges::lower_bound(run, id.value, {}, &IndexedSlice::id);
    if (it != run.end() && it->id == id.value && (!found || it->use < found->use)) {
      found = *it;
    }
  }
  return found;
}

}  // namespace zest::admin

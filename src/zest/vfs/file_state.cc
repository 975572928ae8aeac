#include "zest/vfs/file_state.h"

#include <algorithm>
#include <utility>

#include "zest/runtime/loop.h"

namespace zest::vfs {

namespace {

// Slice lists kept per file: 4 GiB of a file that is read at random; more are loaded again.
constexpr std::size_t kViewsMax = 64;

}  // namespace

std::uint64_t FileState::length() const noexcept {
  std::uint64_t length = attr.length;
  for (auto const& slice : pending) {
    if (slice->length > 0) {
      length = std::max(length, slice->end());
    }
  }
  return length;
}

Attr FileState::effective() const {
  Attr out = attr;
  out.length = length();
  for (auto const& slice : pending) {
    if (slice->length > 0) {
      out.mtime = std::max(out.mtime, slice->last_write);
      out.ctime = std::max(out.ctime, slice->last_write);
    }
  }
  return out;
}

bool FileState::apply_fetched(Attr const& fetched, std::uint64_t before) {
  if (attr_known && epoch > before) {
    return false;  // The answer may be older than our latest change; the next one will do.
  }
  bool const foreign = attr_known && fetched.mtime != attr.mtime && fetched.mtime != own_mtime;
  if (foreign) {
    drop_views();
    validated_mtime = fetched.mtime;
    stamp.reset();
  }
  if (!attr_known) {
    validated_mtime = fetched.mtime;
  }
  attr = fetched;
  attr_known = true;
  return foreign;
}

void FileState::apply_own(Attr const& changed_attr, std::uint64_t before, std::uint64_t now_epoch) {
  if (attr_known && epoch > before) {
    // Another change of ours was answered meanwhile: which one came last in the database is
    // unknown, so nothing may go back.
    auto const known = attr;
    attr = changed_attr;
    attr.length = std::max(known.length, attr.length);
    attr.mtime = std::max(known.mtime, attr.mtime);
    attr.ctime = std::max(known.ctime, attr.ctime);
  } else {
    attr = changed_attr;
  }
  attr_known = true;
  own_mtime = attr.mtime;
  epoch = now_epoch;
  if (stamp) {
    stamp = KernelStamp{.mtime = attr.mtime, .ctime = attr.ctime, .length = attr.length};
  }
}

void FileState::drop_views() {
  views.clear();
  ++view_generation;
}

void FileState::drop_view(ChunkIndex index) {
  views.erase(index.value);
  ++view_generation;
}

void FileState::keep_view(ChunkIndex index, ChunkView view, std::uint64_t generation) {
  if (generation != view_generation) {
    return;  // The chunk may have changed while its list was on the way.
  }
  if (views.size() >= kViewsMax) {
    // Sequential readers go upwards, so the lowest other chunk is the least likely to come back.
    views.erase(views.begin());
  }
  views[index.value] = std::move(view);
}

bool FileState::has_pending_in(std::uint64_t begin, std::uint64_t end) const noexcept {
  return std::ranges::any_of(pending, [&](auto const& slice) {
    return slice->length > 0 && slice->begin() < end && begin < slice->end();
  });
}

std::optional<Errc> FileState::take_error() {
  return std::exchange(error, std::nullopt);
}

FilePtr FileTable::open(Ino ino) {
  auto& s = shard(ino);
  std::lock_guard const lock(s.mutex);
  auto& slot = s.files[ino];
  if (!slot.file) {
    slot.file = std::make_shared<FileState>(ino);
  } else if (slot.handles == 0) {
    s.closed.erase(slot.closed);
  }
  ++slot.handles;
  return slot.file;
}

void FileTable::close(Ino ino) {
  auto& s = shard(ino);
  FilePtr evicted;  // destroyed after the lock was given back
  std::lock_guard const lock(s.mutex);
  auto const it = s.files.find(ino);
  if (it == s.files.end() || --it->second.handles > 0) {
    return;
  }
  it->second.closed = s.closed.insert(s.closed.end(), ino);
  if (s.closed.size() > closed_max_) {
    auto const oldest = s.files.find(s.closed.front());
    evicted = std::move(oldest->second.file);
    s.files.erase(oldest);
    s.closed.pop_front();
  }
}

FilePtr FileTable::find(Ino ino) {
  auto& s = shard(ino);
  std::lock_guard const lock(s.mutex);
  auto const it = s.files.find(ino);
  return it == s.files.end() ? nullptr : it->second.file;
}

void FileTable::forget(Ino ino) {
  auto& s = shard(ino);
  FilePtr evicted;
  std::lock_guard const lock(s.mutex);
  auto const it = s.files.find(ino);
  if (it != s.files.end() && it->second.handles == 0) {
    s.closed.erase(it->second.closed);
    evicted = std::move(it->second.file);
    s.files.erase(it);
  }
}

std::vector<FilePtr> FileTable::all() {
  std::vector<FilePtr> files;
  for (auto& s : shards_) {
    std::lock_guard const lock(s.mutex);
    for (auto const& [ino, slot] : s.files) {
      files.push_back(slot.file);
    }
  }
  return files;
}

void DirtyFiles::add(FilePtr const& file) {
  std::lock_guard const lock(mutex_);
  if (files_.emplace(file->ino, file).second && files_.size() == 1) {
    some_.notify_all();
  }
}

void DirtyFiles::remove(Ino ino) {
  std::lock_guard const lock(mutex_);
  files_.erase(ino);
}

std::vector<FilePtr> DirtyFiles::all() {
  std::lock_guard const lock(mutex_);
  std::vector<FilePtr> files;
  files.reserve(files_.size());
  for (auto const& [ino, file] : files_) {
    files.push_back(file);
  }
  return files;
}

Result<void> DirtyFiles::wait(Context const& ctx, Duration period) {
  std::unique_lock lock(mutex_);
  while (files_.empty()) {
    ZEST_CHECK(some_.wait(ctx, lock));
  }
  auto waited = Result<void>();
  auto& loop = *Loop::current();
  Context bounded = ctx;
  bounded.deadline = std::min(ctx.deadline, loop.now() + period);
  while (waited.ok() && !pressure_.load()) {
    waited = pressed_.wait(bounded, lock);
  }
  return failed_with(waited, Errc::timedout) ? Result<void>() : std::move(waited);
}

void DirtyFiles::report_pressure() noexcept {
  pressure_.store(true);
  pressed_.notify_all();
}

}  // namespace zest::vfs

#include "zest/meta/open_files.h"

#include <mutex>

#include "zest/base/assert.h"

namespace zest::meta {

Result<void> OpenFiles::open(Context const& ctx, Ino ino) {
  auto& s = shard(ino);
  std::unique_lock lock(s.mutex);
  while (true) {
    auto const found = s.files.find(ino);
    if (found == s.files.end() || !found->second.deleting) {
      break;
    }
    ZEST_CHECK(s.changed.wait(ctx, lock));
  }
  ++s.files[ino].opens;
  return {};
}

bool OpenFiles::close(Ino ino, Deletion& deletion) {
  ZEST_ASSERT(!deletion.marked_);
  auto& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  auto const found = s.files.find(ino);
  ZEST_ASSERT(found != s.files.end() && found->second.opens > 0);
  auto& file = found->second;
  if (--file.opens > 0) {
    return false;
  }
  file.attr.reset();
  if (file.deleting) {
    return false;  // Whoever deletes it looks at the count once more, see sustained().
  }
  if (file.sustained) {
    file.deleting = true;
    deletion.marked_ = ino;
    return true;
  }
  s.files.erase(found);
  return false;
}

std::size_t OpenFiles::size() const {
  std::size_t sum = 0;
  for (auto const& s : shards_) {
    std::unique_lock const lock(s.mutex);
    sum += s.files.size();
  }
  return sum;
}

void OpenFiles::made_unnamed(Ino ino) {
  auto& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  auto& file = s.files[ino];
  file.sustained = true;
  file.unnamed = true;
}

bool OpenFiles::unnamed(Ino ino) const {
  auto const& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  auto const found = s.files.find(ino);
  return found != s.files.end() && found->second.unnamed;
}

void OpenFiles::named(Ino ino) {
  auto& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  if (auto const found = s.files.find(ino); found != s.files.end() && found->second.unnamed) {
    found->second.sustained = false;
    found->second.unnamed = false;
  }
}

std::vector<Ino> OpenFiles::not_sustained() const {
  std::vector<Ino> inodes;
  for (auto const& s : shards_) {
    std::unique_lock const lock(s.mutex);
    for (auto const& [ino, file] : s.files) {
      if (file.opens > 0 && !file.sustained) {
        inodes.push_back(ino);
      }
    }
  }
  return inodes;
}

std::optional<Attr> OpenFiles::hint(Ino ino) const {
  auto const& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  auto const found = s.files.find(ino);
  return found == s.files.end() || found->second.stale ? std::nullopt : found->second.attr;
}

std::optional<Attr> OpenFiles::last_seen(Ino ino) const {
  auto const& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  auto const found = s.files.find(ino);
  return found == s.files.end() || found->second.opens == 0 ? std::nullopt : found->second.attr;
}

void OpenFiles::mark_adopted(Ino ino, std::uint64_t length) {
  auto& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  if (auto const found = s.files.find(ino); found != s.files.end()) {
    found->second.adopted_length = length;
  }
}

std::uint64_t OpenFiles::adopted_length(Ino ino) const {
  auto const& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  auto const found = s.files.find(ino);
  return found == s.files.end() ? 0 : found->second.adopted_length;
}

void OpenFiles::remember(Ino ino, Attr const& attr) {
  auto& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  if (auto const found = s.files.find(ino); found != s.files.end()) {
    found->second.attr = attr;
    found->second.stale = false;
  }
}

void OpenFiles::forget(Ino ino) {
  auto& s = shard(ino);
  std::unique_lock const lock(s.mutex);
  if (auto const found = s.files.find(ino); found != s.files.end()) {
    found->second.stale = true;
  }
}

void OpenFiles::forget_all() {
  for (auto& s : shards_) {
    std::unique_lock const lock(s.mutex);
    for (auto& [ino, file] : s.files) {
      file.attr.reset();
    }
  }
}

Result<bool> OpenFiles::Deletion::keeps(Context const& ctx, Ino ino) {
  if (marked_ != ino) {
    release();
  }
  auto& s = files_.shard(ino);
  std::unique_lock lock(s.mutex);
  if (marked_ != ino) {
    while (s.files[ino].deleting) {
      ZEST_CHECK(s.changed.wait(ctx, lock));
    }
    s.files[ino].deleting = true;
    marked_ = ino;
  }
  return s.files[ino].opens > 0;
}

bool OpenFiles::Deletion::sustained() {
  auto& s = files_.shard(marked_);
  {
    std::unique_lock const lock(s.mutex);
    auto& file = s.files[marked_];
    file.sustained = true;
    if (file.opens == 0) {
      return true;
    }
    file.deleting = false;
    marked_ = Ino{};
  }
  s.changed.notify_all();
  return false;
}

void OpenFiles::Deletion::maybe_sustained() {
  if (!marked_) {
    return;
  }
  auto& s = files_.shard(marked_);
  std::unique_lock const lock(s.mutex);
  auto& file = s.files[marked_];
  file.sustained = file.sustained || file.opens > 0;
}

void OpenFiles::Deletion::release() {
  if (!marked_) {
    return;
  }
  auto& s = files_.shard(marked_);
  {
    std::unique_lock const lock(s.mutex);
    auto const found = s.files.find(marked_);
    found->second.deleting = false;
    if (found->second.opens == 0) {
      s.files.erase(found);
    }
  }
  s.changed.notify_all();
  marked_ = Ino{};
}

}  // namespace zest::meta

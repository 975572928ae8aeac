#include "zest/vfs/dir_stream.h"

#include <algorithm>
#include <utility>

#include "zest/runtime/loop.h"

namespace zest::vfs {

namespace {

constexpr std::size_t kPageEntries = 1024;
constexpr std::size_t kPagesKept = 4;
constexpr Duration kPageAge = std::chrono::seconds(1);

// A cookie: 23 bits page + 1 (0 = the synthetic entries before the first page), 12 bits position
// behind the entry, 28 bits hash of its name. Always positive as an off_t.
constexpr unsigned kHashBits = 28;
constexpr unsigned kPositionBits = 12;
constexpr std::uint64_t kHashMask = (std::uint64_t{1} << kHashBits) - 1;
constexpr std::uint64_t kPositionMask = (std::uint64_t{1} << kPositionBits) - 1;

std::uint64_t name_hash(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char const c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return (hash ^ (hash >> kHashBits)) & kHashMask;
}

struct Cookie {
  std::uint64_t page = 0;  ///< 0 = before the first page
  std::uint64_t position = 0;
  std::uint64_t hash = 0;

  [[nodiscard]] std::uint64_t encode() const noexcept {
    return (page << (kHashBits + kPositionBits)) | (position << kHashBits) | hash;
  }
  static Cookie decode(std::uint64_t value) noexcept {
    return {.page = value >> (kHashBits + kPositionBits),
            .position = (value >> kHashBits) & kPositionMask,
            .hash = value & kHashMask};
  }
};

/// Index of the first entry behind the one that the cookie names.
std::size_t resume_at(std::vector<meta::DirEntry> const& entries, Cookie const& cookie) {
  if (cookie.position == 0) {
    return 0;
  }
  auto const expected = static_cast<std::size_t>(cookie.position) - 1;
  if (expected < entries.size() && name_hash(entries[expected].name) == cookie.hash) {
    return expected + 1;
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (name_hash(entries[i].name) == cookie.hash) {
      return i + 1;
    }
  }
  return std::min(expected, entries.size());  // It is gone; what followed it moved into its place.
}

}  // namespace

void DirStream::rewind() {
  cursors_.assign(1, std::string());
  ended_ = false;
  recent_.clear();
  head_known_ = false;
}

Result<void> DirStream::read(Context const& ctx, std::uint64_t offset, bool plus,
                             DirSink const& sink) {
  ZEST_CHECK(mutex_.lock(ctx));
  std::lock_guard const lock(mutex_, std::adopt_lock);
  if (offset == 0) {
    rewind();
  }
  auto cookie = Cookie::decode(offset);
  bool delivered = false;
  if (cookie.page == 0) {
    ZEST_TRY(bool const room, read_head(ctx, offset, plus, sink));
    if (!room) {
      return {};
    }
    cookie = {.page = 1};
    delivered = offset <= head_.size() + 1;
  }
  for (;; cookie = {.page = cookie.page + 1}) {
    auto next = page(ctx, cookie.page - 1, plus);
    if (!next.ok()) {
      return delivered ? Result<void>() : Result<void>(std::move(next).error());
    }
    if (!*next) {
      return {};
    }
    auto const& entries = (**next)->entries;
    for (auto i = resume_at(entries, cookie); i < entries.size(); ++i) {
      if (!deliver(***next, i, plus, sink)) {
        return {};
      }
      delivered = true;
    }
  }
}

/// ".", "..", and in the root the virtual files; returns false when the sink is full.
Result<bool> DirStream::read_head(Context const& ctx, std::uint64_t offset, bool plus,
                                  DirSink const& sink) {
  if (!head_known_) {
    head_.clear();
    auto parent = ino_;
    if (ino_ != kRootIno) {
      ZEST_TRY(parent, env_.services.meta.parent_of(ctx, ino_));
    }
    head_.push_back({.name = ".", .ino = ino_, .type = FileType::directory});
    head_.push_back({.name = "..", .ino = parent, .type = FileType::directory});
    if (ino_ == kRootIno && !env_.config.hide_internal) {
      for (auto& file : internal_.listed()) {
        head_.push_back(std::move(file));
      }
      // In a mount of a sub-directory, and before trash was ever enabled, there is none.
      if (env_.services.meta.lookup(ctx, ino_, ".trash").ok()) {
        head_.push_back(
            {.name = internal_.trash_name(), .ino = kTrashIno, .type = FileType::directory});
      }
    }
    head_known_ = true;
  }
  if (offset > head_.size()) {
    return Errc::inval;
  }
  for (auto i = static_cast<std::size_t>(offset); i < head_.size(); ++i) {
    auto const& item = head_[i];
    bool const virtual_file = plus && InternalFiles::owns(item.ino);
    auto const attr = virtual_file ? internal_.attr(item.ino) : Attr();
    if (!sink({.name = item.name,
               .ino = item.ino,
               .type = item.type,
               .next_offset = i + 1,
               .attr = virtual_file ? &attr : nullptr})) {
      return false;
    }
  }
  return true;
}

/// Page `number` (from 0), nothing behind the last one.
Result<std::optional<DirStream::PagePtr>> DirStream::page(Context const& ctx, std::uint64_t number,
                                                          bool attrs) {
  for (auto const& kept : recent_) {
    if (kept->number == number) {
      return std::optional(kept);
    }
  }
  // A cookie from before the directory was read anew: the way there is walked again.
  while (number > cursors_.size() - 1 && !ended_) {
    ZEST_CHECK(load(ctx, cursors_.size() - 1, attrs));
  }
  if (number >= cursors_.size()) {
    return number == cursors_.size() ? Result<std::optional<PagePtr>>(std::nullopt) : Errc::inval;
  }
  ZEST_TRY(auto loaded, load(ctx, static_cast<std::size_t>(number), attrs));
  return std::optional(std::move(loaded));
}

Result<DirStream::PagePtr> DirStream::load(Context const& ctx, std::size_t index, bool attrs) {
  auto fresh = std::make_shared<Page>();
  fresh->number = index;
  fresh->attrs = attrs;
  fresh->epoch = env_.epoch.load();
  fresh->read_at = Loop::current()->now();
  ZEST_TRY(auto got,
           env_.services.meta.readdir(
               ctx, {.dir = ino_, .from = cursors_[index], .limit = kPageEntries, .attrs = attrs}));
  fresh->entries = std::move(got.entries);
  if (index + 1 == cursors_.size()) {
    if (got.next.empty()) {
      ended_ = true;
    } else {
      cursors_.push_back(std::move(got.next));
      ended_ = false;
    }
  }
  recent_.push_back(fresh);
  if (recent_.size() > kPagesKept) {
    recent_.pop_front();
  }
  return PagePtr(std::move(fresh));
}

bool DirStream::deliver(Page const& page, std::size_t index, bool plus, DirSink const& sink) {
  auto const& entry = page.entries[index];
  DirItem item{
      .name = entry.name,
      .ino = entry.entry.ino,
      .type = entry.entry.type,
      .next_offset =
          Cookie{.page = page.number + 1, .position = index + 1, .hash = name_hash(entry.name)}
              .encode()};
  Attr attr;
  // The kernel takes an entry with attributes for a lookup, so nothing outdated may be given: not
  // what this client changed or removed since the page was read, not what is old.
  auto const age = Loop::current()->now() - page.read_at;
  if (plus && entry.attr && age <= std::max<Duration>(env_.config.attr_timeout, kPageAge) &&
      !env_.changed_since(item.ino, page.epoch)) {
    attr = *entry.attr;
    bool foreign = false;
    if (auto const file = files_.find(item.ino)) {
      std::lock_guard const lock(file->mutex);
      foreign = file->apply_fetched(attr, page.epoch);
      attr = file->effective();
    }
    if (foreign) {
      env_.invalidate_pages(item.ino, 0, 0);
    }
    env_.kernel_attrs.hand_out(item.ino, attr, Loop::current()->now(), env_.config.attr_timeout);
    item.attr = &attr;
  }
  return sink(item);
}

}  // namespace zest::vfs

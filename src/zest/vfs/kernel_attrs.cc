#include "zest/vfs/kernel_attrs.h"

#include <algorithm>
#include <functional>

namespace zest::vfs {

std::size_t KernelAttrs::index(Ino ino) noexcept {
  return std::hash<Ino>{}(ino) % kSlots;
}

void KernelAttrs::hand_out(Ino ino, Attr const& attr, TimePoint now, Duration timeout) {
  if (timeout <= Duration::zero() || attr.type != FileType::regular) {
    return;
  }
  auto const i = index(ino);
  std::lock_guard const lock(lock_of(i));
  auto& slot = slots_[i];
  if (slot.ino != ino) {
    slot.others_until = std::max(slot.others_until, slot.until);
  }
  slot.ino = ino;
  slot.mtime = attr.mtime;
  slot.length = attr.length;
  slot.until = now + timeout;
}

void KernelAttrs::wrote(Ino ino, WallTime old_mtime, Attr const& attr) {
  auto const i = index(ino);
  std::lock_guard const lock(lock_of(i));
  auto& slot = slots_[i];
  if (slot.ino == ino && slot.mtime == old_mtime) {
    slot.mtime = attr.mtime;
    slot.length = attr.length;
  }
}

bool KernelAttrs::differs(Ino ino, Attr const& attr, TimePoint now) {
  auto const i = index(ino);
  std::lock_guard const lock(lock_of(i));
  auto const& slot = slots_[i];
  if (slot.ino != ino) {
    return now < slot.others_until;
  }
  return now < slot.until && (slot.mtime != attr.mtime || slot.length != attr.length);
}

void KernelAttrs::drop(Ino ino) {
  auto const i = index(ino);
  std::lock_guard const lock(lock_of(i));
  if (slots_[i].ino == ino) {
    slots_[i].until = {};
  }
}

}  // namespace zest::vfs

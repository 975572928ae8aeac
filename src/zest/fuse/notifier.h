// Messages to the kernel that cached pages or names are stale.
//
// The kernel may have to wait inside of such a message for a lock that the caller of a running
// request holds (the directory's, for an entry). So it's neither sent from a loop's thread nor
// waited for by a request: it goes into a bounded queue, which a thread of its own empties. When
// the queue is full, messages are dropped and counted; staleness is bounded by the time-outs then.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/types.h"
#include "zest/runtime/sync.h"

namespace zest::fuse {

class Notifier {
 public:
  /// `device` is a connected /dev/fuse descriptor that outlives the notifier.
  Notifier(int device, Logger& log, Registry& metrics);
  /// Drops what is queued and joins the thread. The connection must have ended, else a message
  /// under way may wait for long.
  ~Notifier();
  Notifier(Notifier const&) = delete;
  Notifier& operator=(Notifier const&) = delete;

  /// Pages [offset, offset + length) of `ino` and its attributes are stale; length 0 = to the end.
  /// Never blocks. Any thread.
  void invalidate_inode(Ino ino, std::uint64_t offset, std::uint64_t length);
  /// The same for the whole inode, ahead of everything queued. Suspends until the kernel has done
  /// it, at most for two seconds: a read of one of the pages may wait in the kernel until requests
  /// like the caller's make room. `pages` false: only the attributes. Not for requests during which
  /// the kernel holds a page's lock.
  void invalidate_inode_now(Ino ino, bool pages);
  /// All names are stale (Linux 6.16 and newer; before that their time-outs see to it).
  void invalidate_names();
  /// The name is stale. Never blocks. Any thread.
  void invalidate_entry(Ino parent, std::string name);
  /// Sends nothing more; any thread.
  void stop();

 private:
  struct InodeMessage {
    Ino ino;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    bool only_attributes = false;
    /// Who waits for it shares this.
    std::shared_ptr<Event> done;
  };
  struct NamesMessage {};
  struct EntryMessage {
    Ino parent;
    std::string name;
  };
  using Message = std::variant<InodeMessage, EntryMessage, NamesMessage>;
  static constexpr std::size_t kQueueMax = 16384;

  void push(Message message);
  void run();
  void send(InodeMessage const& message);
  void send(EntryMessage const& message);
  void send(NamesMessage const& message);
  void write_message(int code, void const* body, std::size_t size, std::string_view name);

  int device_;
  Logger& log_;
  Counter& sent_;
  Counter& dropped_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> queue_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace zest::fuse

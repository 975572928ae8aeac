// Direct use of an io_uring loop's ring, for what has no other interface: FUSE over io_uring.
#pragma once

#include <cstdint>
#include <functional>

struct io_uring_sqe;
struct io_uring_cqe;

namespace zest {

class Loop;

/// The ring of a loop of kind "uring": 128-byte submission entries, 16-byte completions. Own thread
/// only.
class UringPort {
 public:
  /// Called on the loop's thread for each completion of an entry; may spawn or wake fibers, not
  /// suspend.
  struct Completion {
    void (*on_complete)(Completion& self, std::int32_t result, std::uint32_t flags) = nullptr;
  };

  virtual ~UringPort() = default;
  /// A zeroed 128-byte entry with `completion` as its user data, or nullptr when the ring is full
  /// even after a submit. It is submitted, together with others, before the loop next waits.
  virtual io_uring_sqe* prepare(Completion& completion) = 0;
  /// Registers `fd` in the ring's file table; the index for IOSQE_FIXED_FILE, or a negative errno.
  virtual int register_fd(int fd) = 0;
  virtual void unregister_fd(int index) = 0;

  /// The ring of `loop`, or nullptr when it is of another kind.
  static UringPort* of(Loop& loop) noexcept;
};

}  // namespace zest

// Errors: a POSIX errno, who has to act on it, and an optional message for people.
//
// An Error is 16 bytes. The common case (ENOENT and friends) never allocates: a message is attached
// only where somebody will read it. Text never contains secrets; whoever adds an URL adds its
// redacted form.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace zest {

/// POSIX error numbers under their errno names, lower case and without the E.
enum class Errc : std::int32_t {
  perm = EPERM,
  noent = ENOENT,
  intr = EINTR,
  io = EIO,
  nxio = ENXIO,
  badf = EBADF,
  again = EAGAIN,
  nomem = ENOMEM,
  acces = EACCES,
  fault = EFAULT,
  busy = EBUSY,
  exist = EEXIST,
  xdev = EXDEV,
  nodev = ENODEV,
  notdir = ENOTDIR,
  isdir = EISDIR,
  inval = EINVAL,
  nfile = ENFILE,
  mfile = EMFILE,
  notty = ENOTTY,
  txtbsy = ETXTBSY,
  fbig = EFBIG,
  nospc = ENOSPC,
  spipe = ESPIPE,
  rofs = EROFS,
  mlink = EMLINK,
  pipe = EPIPE,
  range = ERANGE,
  deadlk = EDEADLK,
  nametoolong = ENAMETOOLONG,
  nosys = ENOSYS,
  notempty = ENOTEMPTY,
  loop = ELOOP,
  nodata = ENODATA,
  overflow = EOVERFLOW,
  notsup = ENOTSUP,
  connrefused = ECONNREFUSED,
  connreset = ECONNRESET,
  notconn = ENOTCONN,
  timedout = ETIMEDOUT,
  stale = ESTALE,
  dquot = EDQUOT,
  canceled = ECANCELED,
};

/// Who acts on an error; see docs/architecture.md.
enum class Fault : std::uint8_t {
  semantic,   ///< An answer (ENOENT, EACCES…): the caller's business, never logged.
  conflict,   ///< A commit lost a race: the transaction runner tries again.
  transient,  ///< A backend is slow, throttled or away: a retry within the deadline may succeed.
  corrupt,    ///< A record or block that cannot be: EIO, one log line with the key.
  bug,        ///< We are wrong.
};

class [[nodiscard]] Error {
 public:
  /// A semantic error without text; does not allocate.
  // NOLINTNEXTLINE(google-explicit-constructor): `return Errc::noent;` is the idiom.
  Error(Errc code) noexcept : code_(code) {}
  /// An error with a message that says what failed, on what and why.
  Error(Errc code, Fault fault, std::string message);

  Error(Error&&) noexcept = default;
  Error& operator=(Error&&) noexcept = default;
  Error(Error const&) = delete;
  Error& operator=(Error const&) = delete;
  ~Error() = default;

  /// An error from `errno`; copy errno at once, it may change at every suspension.
  static Error from_errno(int number, std::string message);
  static Error corrupt(std::string message) {
    return {Errc::io, Fault::corrupt, std::move(message)};
  }
  static Error transient(Errc code, std::string message) {
    return {code, Fault::transient, std::move(message)};
  }

  [[nodiscard]] Errc code() const noexcept { return code_; }
  [[nodiscard]] Fault fault() const noexcept { return fault_; }
  /// The number the kernel wants, positive.
  [[nodiscard]] int number() const noexcept { return static_cast<int>(code_); }

  /// Prepends what was being done: "mount /x" + "no such volume" → "mount /x: no such volume".
  Error&& with(std::string_view context) &&;
  /// A copy, for the rare place that reports one failure to several waiters.
  [[nodiscard]] Error clone() const;
  /// The message, or the errno's own text when there is none.
  [[nodiscard]] std::string text() const;

 private:
  Errc code_;
  Fault fault_ = Fault::semantic;
  std::unique_ptr<std::string> message_;
};

static_assert(sizeof(Error) == 16);

}  // namespace zest

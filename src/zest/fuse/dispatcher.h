// From a request to a call of vfs and back: no transport, no decisions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/fuse/interrupts.h"
#include "zest/fuse/negotiate.h"
#include "zest/fuse/protocol.h"
#include "zest/fuse/reply.h"
#include "zest/vfs/vfs.h"

namespace zest::fuse {

struct DispatchOptions {
  DecodeOptions decode;
  std::uint32_t max_io = 1u << 20;  ///< bytes of the largest reply with data
  /// allow_root: only this user and root get in; others are told EACCES. The kernel knows only
  /// "everybody" and "nobody else", so it's checked here.
  std::optional<std::uint32_t> only_user;
};

/// Serves decoded requests. Any loop; one instance a session; outlives its requests.
class Dispatcher {
 public:
  Dispatcher(vfs::Vfs& vfs, DispatchOptions options, Logger& log, Registry& metrics);
  ~Dispatcher();
  Dispatcher(Dispatcher const&) = delete;
  Dispatcher& operator=(Dispatcher const&) = delete;

  /// True for requests without a reply (FORGET, INTERRUPT): give them to notice().
  [[nodiscard]] static bool is_notice(std::uint32_t opcode) noexcept;
  /// Takes note of a request without a reply. Returns false for an INTERRUPT whose request isn't
  /// known (yet): it may be trying again a little later. Doesn't suspend.
  bool notice(RawRequest const& raw);

  /// Runs one request on the calling fiber and returns what to answer; may suspend. `stop` is the
  /// request's own source and not yet stopped.
  Reply serve(RawRequest const& raw, std::stop_source& stop);

  [[nodiscard]] InterruptTable& interrupts() noexcept { return interrupts_; }

 private:
  struct Metrics;
  struct Call;
  Reply finish(RawRequest const& raw, Result<Reply> result);

  vfs::Vfs& vfs_;
  DispatchOptions options_;
  Logger& log_;
  std::unique_ptr<Metrics> metrics_;
  InterruptTable interrupts_;
};

}  // namespace zest::fuse

// N loops, each on a thread of its own; the frame of a running program.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "zest/runtime/loop.h"

namespace zest {

struct LoopGroupOptions {
  LoopKind kind = LoopKind::automatic;
  /// 0 = one a core.
  std::size_t loops = 0;
  /// Pin loop i to core i (FUSE over io_uring wants it).
  bool pin = false;
  LoopOptions loop;
};

/// Starts its threads in create() and stops them in the destructor; all scopes must have been
/// joined by then.
class LoopGroup {
 public:
  static Result<std::unique_ptr<LoopGroup>> create(LoopGroupOptions const& options, Logger& log);
  ~LoopGroup();
  LoopGroup(LoopGroup const&) = delete;
  LoopGroup& operator=(LoopGroup const&) = delete;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] Loop& loop(std::size_t index) noexcept;

  /// Runs `fn` on a fiber of loop `index` and returns its result; for foreign threads, which block
  /// meanwhile.
  template <class Fn>
  auto call(std::size_t index, Fn&& fn) -> std::invoke_result_t<Fn> {
    using R = std::invoke_result_t<Fn>;
    if constexpr (std::is_void_v<R>) {
      call_task(index, [&fn] { fn(); });
    } else {
      std::optional<R> result;
      call_task(index, [&fn, &result] { result.emplace(fn()); });
      return std::move(*result);
    }
  }

 private:
  LoopGroup();
  void call_task(std::size_t index, Task task);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest

// The twin of etcd in the memory of this process: the same revisions, the same conflicts.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/meta/engine/kv/kv_store.h"

namespace zest::meta::kv {

/// The content, which several stores may share as several clients share a server. Thread-safe.
class MemoryKvData;
std::shared_ptr<MemoryKvData> make_memory_kv_data();

struct MemoryKvOptions {
  /// A transaction with more comparisons, reads or writes than this is refused, as etcd does.
  std::size_t operations_max = 128;
  std::size_t writes_max = 3072;
  /// Called before each trip with "read" or "commit", without any lock; may suspend or fail.
  std::function<Result<void>(std::string_view call)> before_call;
  /// Called after each trip that was answered; a failure replaces the answer: a lost reply.
  std::function<Result<void>(std::string_view call)> after_call;
  /// Lets other fibers run before each call.
  bool yield = true;
};

std::unique_ptr<Store> make_memory_kv(std::shared_ptr<MemoryKvData> data,
                                      MemoryKvOptions options = {});

}  // namespace zest::meta::kv

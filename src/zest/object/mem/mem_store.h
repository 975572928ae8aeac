// Objects in the memory of this process, for tests and scratch volumes.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "zest/object/store.h"

namespace zest {

struct MemStoreOptions {
  /// Most bytes of all objects together; a put beyond it is ENOSPC.
  std::uint64_t bytes_max = std::numeric_limits<std::uint64_t>::max();
};

/// An empty store. It forgets everything with its end; thread-safe; never suspends.
std::unique_ptr<ObjectStore> make_mem_store(MemStoreOptions options = {});

}  // namespace zest

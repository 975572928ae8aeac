// Names of threads as top and gdb show them. Internal to the runtime.
#pragma once

#include <string>

namespace zest {

/// Names the calling thread; the kernel keeps 15 characters.
void name_thread(std::string name) noexcept;

}  // namespace zest

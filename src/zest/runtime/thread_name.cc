#include "zest/runtime/thread_name.h"

#include <pthread.h>

namespace zest {

void name_thread(std::string name) noexcept {
  constexpr std::size_t kLongest = 15;
  if (name.size() > kLongest) {
    name.resize(kLongest);
  }
  ::pthread_setname_np(::pthread_self(), name.c_str());
}

}  // namespace zest

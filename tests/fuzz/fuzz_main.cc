// One libFuzzer program a decoder: ZEST_FUZZ_DECODER names it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "tests/fuzz/decoders.h"

namespace {

zest::Decoder const& chosen() {
  for (auto const& decoder : zest::decoders()) {
    if (decoder.name == ZEST_FUZZ_DECODER) {
      return decoder;
    }
  }
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  static zest::Decoder const& decoder = chosen();
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): libFuzzer's bytes are unsigned.
  decoder.run({reinterpret_cast<char const*>(data), size});
  return 0;
}

// Every decoder of the format module as a function over hostile bytes, for the fuzz targets and for
// hostile_test.
#pragma once

#include <span>
#include <string_view>

namespace zest {

struct Decoder {
  std::string_view name;
  /// Decodes `bytes`. Nothing may happen but an error or a value that survives encoding and
  /// decoding; a value that does not aborts the program.
  void (*run)(std::string_view bytes);
};

std::span<Decoder const> decoders();

}  // namespace zest

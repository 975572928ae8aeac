#include "zest/base/error.h"

#include <cstring>
#include <utility>

namespace zest {

Error::Error(Errc code, Fault fault, std::string message)
    : code_(code), fault_(fault), message_(std::make_unique<std::string>(std::move(message))) {}

Error Error::from_errno(int number, std::string message) {
  char buffer[128];
  message += ": ";
  message += strerror_r(number, buffer, sizeof buffer);
  return {static_cast<Errc>(number), Fault::semantic, std::move(message)};
}

Error&& Error::with(std::string_view context) && {
  std::string full(context);
  full += ": ";
  full += text();
  message_ = std::make_unique<std::string>(std::move(full));
  return std::move(*this);
}

Error Error::clone() const {
  Error copy(code_);
  copy.fault_ = fault_;
  if (message_) {
    copy.message_ = std::make_unique<std::string>(*message_);
  }
  return copy;
}

std::string Error::text() const {
  if (message_) {
    return *message_;
  }
  char buffer[128];
  return strerror_r(number(), buffer, sizeof buffer);
}

}  // namespace zest

#include "zest/fuse/fuzz_decode.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "zest/base/assert.h"
#include "zest/fuse/negotiate.h"
#include "zest/fuse/protocol.h"

namespace zest::fuse {
namespace {

/// Every view in a request has to lie inside of the payload or argument.
class Bounds {
 public:
  explicit Bounds(RawRequest const& raw) : raw_(raw) {}
  void check(ByteView view) const {
    ZEST_ASSERT(view.empty() || inside(raw_.payload, view) || inside(raw_.argument, view) ||
                spans_both(view));
  }
  void check(std::string_view text) const { check(as_bytes(text)); }

 private:
  static bool inside(ByteView outer, ByteView view) {
    std::less_equal<> const le;
    return le(outer.data(), view.data()) &&
           le(view.data() + view.size(), outer.data() + outer.size());
  }
  /// The short SETXATTR: its name may begin in what a newer kernel fills with more arguments.
  [[nodiscard]] bool spans_both(ByteView view) const {
    return raw_.argument.data() + raw_.argument.size() == raw_.payload.data() &&
           inside({raw_.argument.data(), raw_.argument.size() + raw_.payload.size()}, view);
  }
  RawRequest const& raw_;
};

void check_views(Request const& request, Bounds const& bounds) {
  std::visit(
      [&bounds]<class T>(T const& in) {
        if constexpr (requires { in.name; }) {
          bounds.check(in.name);
        }
        if constexpr (requires { in.request.name; }) {
          bounds.check(in.request.name);
        }
        if constexpr (requires { in.request.new_name; }) {
          bounds.check(in.request.new_name);
        }
        if constexpr (requires { in.new_name; }) {
          bounds.check(in.new_name);
        }
        if constexpr (requires { in.target; }) {
          bounds.check(in.target);
        }
        if constexpr (requires { in.value; }) {
          bounds.check(in.value);
        }
        if constexpr (requires { in.bytes; }) {
          bounds.check(in.bytes);
        }
        if constexpr (requires { in.input; }) {
          bounds.check(in.input);
        }
        if constexpr (std::is_same_v<T, Init>) {
          static_cast<void>(negotiate(in, {}));
        }
      },
      request);
}

}  // namespace

void fuzz_decode(ByteView bytes) {
  if (bytes.empty()) {
    return;
  }
  auto const choice = std::to_integer<unsigned>(bytes[0]);
  auto body = bytes.subspan(1);
  Result<RawRequest> raw = Errc::inval;
  abi::UringRequestHeader headers{};
  std::vector<std::byte> copy;
  if ((choice & 1) != 0) {
    auto const size = std::min(body.size(), sizeof headers);
    std::ranges::copy(body.first(size), reinterpret_cast<std::byte*>(&headers));
    body = body.subspan(size);
    raw = split_ring_request(headers, body);
  } else {
    copy.assign(body.begin(), body.end());
    if (copy.size() >= sizeof(fuse_in_header) && (choice & 2) != 0) {
      // Most mutations break the length field, which is only the first of all checks.
      auto const length = static_cast<std::uint32_t>(copy.size());
      std::ranges::copy(std::as_bytes(std::span(&length, 1)), copy.begin());
    }
    raw = split_device_request(copy);
  }
  if (!raw.ok()) {
    return;
  }
  auto const request = decode(*raw, {.setxattr_ext = (choice & 4) == 0});
  if (request.ok()) {
    check_views(*request, Bounds(*raw));
  }
}

}  // namespace zest::fuse

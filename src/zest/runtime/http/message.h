// The text of HTTP/1.1: URLs, and the head of a reply. Pure; input is hostile.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"

namespace zest::http {

/// Most bytes of a reply's head, and most fields in it.
constexpr std::size_t kHeadBytesMax = 65536;
constexpr std::size_t kFieldsMax = 256;

struct Url {
  bool tls = false;
  std::string host;  ///< lower case; an IPv6 address without its brackets
  std::uint16_t port = 0;
  std::string path;   ///< as written; "/" where there is none
  std::string query;  ///< as written, without '?'
  std::string user;   ///< "user:password" as written; secret

  /// host, or host:port where it is not the scheme's own; what the field Host says.
  [[nodiscard]] std::string authority() const;
};

/// `http://…` or `https://…`. EINVAL says what is wrong, without the user part.
Result<Url> parse_url(std::string_view text);

/// Everything but letters, digits and "-._~" becomes %XX; '/' stays where `keep_slash`.
std::string percent_encode(std::string_view text, bool keep_slash);
/// nullopt for a broken escape. '+' is a blank where `plus_is_blank`.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank);

struct Field {
  std::string name;
  std::string value;
};

/// Equal but for the case of letters.
bool same_name(std::string_view a, std::string_view b) noexcept;

struct Head {
  int status = 0;
  int minor_version = 1;
  std::vector<Field> fields;

  /// The first field of that name, or nullptr.
  [[nodiscard]] std::string const* find(std::string_view name) const noexcept;
};

/// The number of bytes up to the end of a head, with its empty line; 0 = not all is there yet.
std::size_t head_size(std::string_view text) noexcept;

/// Parses what head_size() found. EIO (transient: the peer or somebody between talks nonsense).
Result<Head> parse_head(std::string_view text);

enum class Framing : std::uint8_t { none, length, chunked, until_close };
struct BodyFrame {
  Framing framing = Framing::none;
  std::uint64_t length = 0;
  bool keep_alive = false;  ///< another request may follow on this connection
};
/// How the body of a reply ends. EIO when its fields contradict each other.
Result<BodyFrame> frame_of(Head const& head, std::string_view method);

/// The size in a chunk's first line; nullopt when there is none.
std::optional<std::uint64_t> chunk_size(std::string_view line) noexcept;

}  // namespace zest::http

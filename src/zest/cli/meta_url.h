// The META-URL of a command line: which database, and never a password where somebody could see it.
#pragma once

#include <string>
#include <string_view>

#include "zest/base/result.h"

namespace zest::cli {

struct MetaUrl {
  std::string scheme;    ///< lower case
  std::string text;      ///< complete, with its password
  std::string redacted;  ///< the same with `****` for the password: for messages and process lists
};

/// Reads `scheme://…`; without `://`, `redis://` is meant, as with the peer. `password` is put into
/// an URL that names a user or host but has no password; empty for none. A file URL (sqlite3) takes
/// none. EINVAL for an empty text.
Result<MetaUrl> parse_meta_url(std::string_view text, std::string_view password);

/// The password for `url`: REDIS_PASSWORD (for Redis only), META_PASSWORD, or the first line of the
/// file that META_PASSWORD_FILE names; empty when none is set. Errors name the file.
Result<std::string> password_from_environment(std::string_view url);

/// `url` with `****` in place of the password between `user:` and `@`.
std::string redact_url(std::string_view url);

/// Overwrites passwords of URLs in the process's arguments, which everybody on the machine can
/// read.
void hide_passwords(int argc, char** argv) noexcept;

}  // namespace zest::cli

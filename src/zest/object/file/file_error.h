// How failures of file calls become errors of the `file` store. Internal to file/.
#pragma once

#include <string>

#include "zest/base/error.h"

namespace zest::file_store {

/// An error that says what failed on which path; `number` is an errno. Transient where a later try
/// may succeed (EIO, ESTALE, EMFILE…), an answer otherwise (EACCES, ENOSPC, EROFS…).
Error path_error(int number, std::string what, std::string const& path);

}  // namespace zest::file_store

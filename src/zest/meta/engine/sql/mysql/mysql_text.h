// Statements with their parameters as the text of one packet.
#pragma once

#include <span>
#include <string>

#include "zest/meta/engine/sql/remote/session.h"

namespace zest::meta::sql {

/// All statements, separated by semicolons, each `?` replaced by its parameter: numbers in decimal,
/// bytes as x'…', text as _utf8mb4 x'…', so that no content can end a literal.
std::string batch_text(std::span<Statement const> statements);

}  // namespace zest::meta::sql

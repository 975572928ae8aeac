#include "zest/meta/engine/sql/postgres/postgres_statements.h"

#include <fmt/format.h>

#include "zest/meta/engine/sql/postgres/postgres_values.h"

namespace zest::meta::sql {

namespace {

char kind_of(Parameter const& parameter) {
  constexpr std::string_view kKinds = "nibt";
  return kKinds[parameter.index()];
}

bool fits(PreparedStatement const& prepared, std::vector<Parameter> const& parameters) {
  if (prepared.kinds.size() != parameters.size()) {
    return false;
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    auto const kind = kind_of(parameters[i]);
    if (kind != prepared.kinds[i] && kind != 'n') {
      return false;
    }
  }
  return true;
}

}  // namespace

PreparedStatements::Text& PreparedStatements::text_of(Statement const& statement) {
  auto const found = texts_.find(std::string_view(statement.text));
  if (found != texts_.end()) {
    return found->second;
  }
  auto& text = texts_[statement.text];
  text.numbered = number_placeholders(statement.text);
  return text;
}

PreparedStatement& PreparedStatements::find(Statement const& statement) {
  auto& text = text_of(statement);
  for (auto& variant : text.variants) {
    if (fits(variant, statement.parameters)) {
      return variant;
    }
  }
  std::string kinds;
  for (auto const& parameter : statement.parameters) {
    kinds += kind_of(parameter);
  }
  ++count_;
  return text.variants.emplace_back(
      PreparedStatement{.name = fmt::format("z{}", ++names_), .kinds = std::move(kinds)});
}

std::string const& PreparedStatements::numbered_text(Statement const& statement) {
  return text_of(statement).numbered;
}

void PreparedStatements::clear() {
  texts_.clear();
  count_ = 0;
}

}  // namespace zest::meta::sql

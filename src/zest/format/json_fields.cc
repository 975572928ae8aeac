#include "zest/format/json_fields.h"

#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace zest {

struct JsonFields::Impl {
  nlohmann::json object;
  std::string what;
  std::string problem;

  /// The field's value; null when it is missing or null.
  [[nodiscard]] nlohmann::json const* find(char const* name) const {
    auto const it = object.find(name);
    return it == object.end() || it->is_null() ? nullptr : &*it;
  }
};

JsonFields::JsonFields(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JsonFields::JsonFields(JsonFields&&) noexcept = default;
JsonFields& JsonFields::operator=(JsonFields&&) noexcept = default;
JsonFields::~JsonFields() = default;

Result<JsonFields> JsonFields::parse(std::string_view text, std::string_view what,
                                     std::size_t size_max) {
  if (text.size() > size_max) {
    return Error::corrupt(
        fmt::format("{} has {} bytes, more than {}", what, text.size(), size_max));
  }
  auto object =
      nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return Error::corrupt(fmt::format("{} is no JSON object", what));
  }
  return JsonFields(std::make_unique<Impl>(Impl{std::move(object), std::string(what), {}}));
}

void JsonFields::read(char const* name, std::string& out) {
  if (auto const* value = impl_->find(name)) {
    if (auto const* text = value->get_ptr<std::string const*>()) {
      out = *text;
    } else {
      fail(name, "text");
    }
  }
}

void JsonFields::read(char const* name, bool& out) {
  if (auto const* value = impl_->find(name)) {
    if (auto const* flag = value->get_ptr<bool const*>()) {
      out = *flag;
    } else {
      fail(name, "true or false");
    }
  }
}

void JsonFields::read(char const* name, std::int64_t& out) {
  auto const* value = impl_->find(name);
  if (value == nullptr) {
    return;
  }
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (value->is_number_unsigned() && value->get<std::uint64_t>() <= kMax) {
    out = static_cast<std::int64_t>(value->get<std::uint64_t>());
  } else if (value->is_number_integer() && !value->is_number_unsigned()) {
    out = value->get<std::int64_t>();
  } else {
    fail(name, "a 64-bit integer");
  }
}

void JsonFields::read(char const* name, std::uint64_t& out) {
  if (auto const* value = impl_->find(name)) {
    if (value->is_number_unsigned()) {
      out = value->get<std::uint64_t>();
    } else {
      fail(name, "an integer of at least 0");
    }
  }
}

void JsonFields::read(char const* name, std::vector<std::string>& out) {
  auto const* value = impl_->find(name);
  if (value == nullptr) {
    return;
  }
  out.clear();
  if (value->is_array()) {
    for (auto const& element : *value) {
      if (auto const* text = element.get_ptr<std::string const*>()) {
        out.push_back(*text);
      }
    }
  }
  if (!value->is_array() || out.size() != value->size()) {
    fail(name, "a list of texts");
  }
}

void JsonFields::read_objects(char const* name,
                              std::function<void(std::string_view, JsonFields&)> const& each) {
  auto const* value = impl_->find(name);
  if (value == nullptr) {
    return;
  }
  if (!value->is_object()) {
    fail(name, "an object");
    return;
  }
  for (auto const& [key, inner] : value->items()) {
    if (!inner.is_object()) {
      fail(name, "an object of objects");
      return;
    }
    JsonFields fields(std::make_unique<Impl>(Impl{inner, impl_->what, {}}));
    each(key, fields);
    if (!fields.finish().ok() && impl_->problem.empty()) {
      impl_->problem = fields.impl_->problem;
    }
  }
}

void JsonFields::fail(std::string_view name, std::string_view expected) {
  if (impl_->problem.empty()) {
    impl_->problem = fmt::format("{}: field {} is not {}", impl_->what, name, expected);
  }
}

Result<void> JsonFields::finish() const {
  if (!impl_->problem.empty()) {
    return Error::corrupt(impl_->problem);
  }
  return {};
}

}  // namespace zest

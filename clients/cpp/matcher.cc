#include "matcher.h"

#include <stdexcept>

namespace {

using nlohmann::json;

bool Holds(const std::string& condition, const json& operand, const json* seen) {
  if (condition == "$absent") return seen == nullptr;
  if (seen == nullptr) return false;
  if (condition == "$present") return !seen->is_null() && *seen != "";
  if (condition == "$contains") {
    return seen->is_string() && seen->get<std::string>().find(operand.get<std::string>()) != std::string::npos;
  }
  if (condition == "$bytes") return seen->is_string() && seen->get<std::string>().size() <= operand.get<std::size_t>();
  if (condition == "$between") return seen->is_number() && operand[0] <= *seen && *seen <= operand[1];
  throw std::invalid_argument("a vector names " + condition);
}

std::string Shown(const json* value) { return value == nullptr ? "absent" : value->dump().substr(0, 400); }

}  // namespace

std::string Mismatch(const std::string& path, const json& expected, const json* seen) {
  const std::string wrong = path + " is " + Shown(seen) + ", expected " + Shown(&expected);
  if (expected.is_object()) {
    if (expected.size() == 1 && expected.begin().key().front() == '$') {
      return Holds(expected.begin().key(), expected.begin().value(), seen) ? "" : wrong;
    }
    if (seen == nullptr || !seen->is_object()) return wrong;
    for (const auto& [name, value] : expected.items()) {
      const auto found = seen->find(name);
      const auto fault = Mismatch(path + "." + name, value, found == seen->end() ? nullptr : &*found);
      if (!fault.empty()) return fault;
    }
    return "";
  }
  if (expected.is_array()) {
    if (seen == nullptr || !seen->is_array() || seen->size() != expected.size()) return wrong;
    for (std::size_t index = 0; index < expected.size(); ++index) {
      const auto fault = Mismatch(path + "[" + std::to_string(index) + "]", expected[index], &(*seen)[index]);
      if (!fault.empty()) return fault;
    }
    return "";
  }
  return seen != nullptr && *seen == expected ? "" : wrong;
}

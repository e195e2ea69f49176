// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <simdjson.h>

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

namespace dom = simdjson::dom;

// Objects up to this size are searched for repeated keys one by one; larger ones through a hash
// table.
constexpr size_t kSmallObject = 16;

Json convert(const dom::element& e);

Json convert_object(const dom::object& source) {
  Json::object_t out;
  // ordered_json's own insertion searches linearly each time; appending to the vector beneath keeps
  // this linear overall.
  auto& entries = static_cast<std::vector<Json::object_t::value_type>&>(out);
  std::unordered_map<std::string_view, size_t> seen;
  for (const auto [key, value] : source) {
    size_t at = entries.size();
    if (entries.size() < kSmallObject) {
      for (size_t i = 0; i < entries.size(); ++i)
        if (entries[i].first == key) at = i;
    } else {
      if (seen.empty())
        for (const auto [k, v] : source) {
          if (seen.size() == entries.size()) break;
          seen.emplace(k, seen.size());
        }
      at = seen.emplace(key, at).first->second;
    }
    if (at < entries.size())
      entries[at].second = convert(value);
    else
      entries.emplace_back(std::string(key), convert(value));
  }
  return Json(std::move(out));
}

Json convert(const dom::element& e) {
  switch (e.type()) {
    case dom::element_type::ARRAY: {
      Json::array_t out;
      const dom::array source = e.get_array().value_unsafe();
      out.reserve(source.size());
      for (const dom::element& item : source) out.push_back(convert(item));
      return Json(std::move(out));
    }
    case dom::element_type::OBJECT:
      return convert_object(e.get_object().value_unsafe());
    case dom::element_type::INT64:
      return Json(e.get_int64().value_unsafe());
    case dom::element_type::UINT64:
      return Json(e.get_uint64().value_unsafe());
    case dom::element_type::DOUBLE:
      return Json(e.get_double().value_unsafe());
    case dom::element_type::STRING:
      return Json(std::string(e.get_string().value_unsafe()));
    case dom::element_type::BOOL:
      return Json(e.get_bool().value_unsafe());
    case dom::element_type::NULL_VALUE:
      return Json(nullptr);
  }
  return Json(nullptr);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    fail(ErrorCode::invalid_argument,
         "{}: {} bytes of JSON, the limit is {}",
         what,
         text.size(),
         limits.max_bytes);
  dom::parser parser(limits.max_bytes + simdjson::SIMDJSON_PADDING);
  // The parser grows with its input; depth is fixed beforehand and checked by it.
  const auto allocated =
      parser.allocate(std::max<size_t>(text.size(), 32), static_cast<size_t>(limits.max_depth));
  if (allocated != simdjson::SUCCESS)
    fail(ErrorCode::exhausted, "{}: no memory to parse {} bytes", what, text.size());
  const simdjson::padded_string padded(text);
  dom::element root;
  const auto error = parser.parse(padded).get(root);
  if (error == simdjson::DEPTH_ERROR)
    fail(ErrorCode::invalid_argument,
         "{}: JSON nested deeper than {} levels",
         what,
         limits.max_depth);
  if (error != simdjson::SUCCESS)
    fail(ErrorCode::invalid_argument,
         "{}: not valid JSON: {}",
         what,
         simdjson::error_message(error));
  return convert(root);
}

std::string json_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json read_json_file(const std::string& path, const JsonLimits& limits) {
  const MappedFile file(path);
  return parse_json(file.text(), path, limits);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// FieldReader: typed, bounded access to the fields of one JSON object of a request. A wrong type or
// value is a RequestError that names the field. A field that is null counts as absent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/edit_distance.h"
#include "base/json.h"

namespace quern {

class FieldReader {
 public:
  static constexpr size_t kMaxFields = 512;

  // `where` is put in front of field names in messages ("stream_options."). Throws RequestError if
  // `value` is no object, or one of more than kMaxFields fields. The reader refers to `value`,
  // which must outlive it.
  explicit FieldReader(const Json& value, std::string where = {});

  // Null if absent. Every look-up makes the name known to reject_misspelt.
  const Json* find(std::string_view name);
  bool has(std::string_view name) { return find(name) != nullptr; }
  // "stream_options.include_usage": how messages call a field.
  std::string path(std::string_view name) const { return where_ + std::string(name); }

  std::optional<double> number(std::string_view name, double min, double max);
  std::optional<int64_t> integer(std::string_view name, int64_t min, int64_t max);
  std::optional<bool> boolean(std::string_view name);
  std::optional<std::string> string(std::string_view name);
  bool boolean_or(std::string_view name, bool fallback) { return boolean(name).value_or(fallback); }
  // An array of token ids, at most max_count.
  std::vector<int32_t> token_ids(std::string_view name, size_t max_count);

  // Throws unsupported, naming the field, unless it is absent or one of the values that ask for
  // nothing: false, "", [], {} or the number `neutral`.
  void refuse(std::string_view name, std::string_view why, double neutral = 0);
  // The names of fields that change nothing here (`user`, `metadata`).
  void ignore(std::initializer_list<std::string_view> names);
  // Throws RequestError for a field that nobody has asked for and that looks like one that somebody
  // has ("temprature"). Other unknown fields pass, as clients send extensions of their own; they
  // are returned.
  std::vector<std::string> reject_misspelt() const;

 private:
  std::string where_;
  std::unordered_map<std::string_view, const Json*> fields_;
  std::unordered_set<std::string> known_;
};

// A token id from outside; `name` is the field. Throws RequestError unless it is an integer in [0,
// 2^31).
int32_t token_id_of(const Json& value, std::string_view name);
// "a number", "an array": how messages call the type of a value.
std::string_view json_type_name(const Json& value);

}  // namespace quern

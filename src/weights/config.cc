// SPDX-License-Identifier: Apache-2.0
#include "weights/config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "tensor/shard.h"
#include "weights/stored_json.h"

namespace quern {
namespace {

// config.json is a few kilobytes; a file of many megabytes is something else.
constexpr JsonLimits kConfigLimits{.max_bytes = size_t{16} << 20, .max_depth = 64};

// The value under `key`, or null if it is absent or a JSON null.
const Json* lookup(const Json& part, std::string_view key) {
  for (const auto& [name, value] : part.get_ref<const Json::object_t&>())
    if (name == key) return value.is_null() ? nullptr : &value;
  return nullptr;
}

[[noreturn]] void fail_type(const Config& config,
                            std::string_view key,
                            std::string_view expected,
                            const Json& value) {
  fail(ErrorCode::data_loss,
       "{}: key {}: expected {}, got {} {:.60}",
       config.path(),
       key,
       expected,
       value.type_name(),
       value.is_structured() ? "" : value.dump());
}

const Json& require(const Config& config, std::string_view key, std::string_view expected) {
  const Json* value = lookup(config.json(), key);
  if (value == nullptr)
    fail(ErrorCode::data_loss, "{}: key {} is missing: expected {}", config.path(), key, expected);
  return *value;
}

// Some tools write whole numbers as 8.0: an integral double counts as an integer.
int64_t to_integer(const Config& config, std::string_view key, const Json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t u = value.get<uint64_t>();
    if (u <= static_cast<uint64_t>(INT64_MAX)) return static_cast<int64_t>(u);
  } else if (value.is_number_integer()) {
    return value.get<int64_t>();
  } else if (value.is_number_float()) {
    const double d = value.get<double>();
    if (std::abs(d) <= 0x1p53 && d == std::floor(d)) return static_cast<int64_t>(d);
  }
  fail_type(config, key, "an integer", value);
}

void expect_within(const Config& config, std::string_view key, int64_t value, Range range) {
  if (value < range.begin || value > range.end)
    fail(ErrorCode::data_loss,
         "{}: key {}: expected {}..{}, got {}",
         config.path(),
         key,
         range.begin,
         range.end,
         value);
}

double to_number(const Config& config, std::string_view key, const Json& value) {
  if (!value.is_number()) fail_type(config, key, "a number", value);
  return value.get<double>();
}

bool to_boolean(const Config& config, std::string_view key, const Json& value) {
  if (!value.is_boolean()) fail_type(config, key, "true or false", value);
  return value.get<bool>();
}

std::string to_string(const Config& config, std::string_view key, const Json& value) {
  if (!value.is_string()) fail_type(config, key, "a string", value);
  return value.get<std::string>();
}

}  // namespace

Config::Config(std::shared_ptr<const Json> root, const Json* part, std::string path)
    : root_(std::move(root)), part_(part), path_(std::move(path)) {
  if (!part_->is_object())
    fail(ErrorCode::data_loss, "{}: expected a JSON object, got {}", path_, part_->type_name());
}

Config Config::parse(std::string_view text, std::string path) {
  auto root = std::make_shared<const Json>(parse_stored_json(text, path, kConfigLimits));
  const Json* part = root.get();
  return Config(std::move(root), part, std::move(path));
}

Config Config::read(const std::string& file) {
  return parse(MappedFile(file).text(), file);
}

bool Config::has(std::string_view key) const {
  return lookup(*part_, key) != nullptr;
}

int64_t Config::integer(std::string_view key, int64_t min, int64_t max) const {
  const int64_t value = to_integer(*this, key, require(*this, key, "an integer"));
  expect_within(*this, key, value, {min, max});
  return value;
}

double Config::number(std::string_view key) const {
  return to_number(*this, key, require(*this, key, "a number"));
}

bool Config::boolean(std::string_view key) const {
  return to_boolean(*this, key, require(*this, key, "true or false"));
}

std::string Config::string(std::string_view key) const {
  return to_string(*this, key, require(*this, key, "a string"));
}

std::vector<int64_t> Config::integers(std::string_view key) const {
  const Json& value = require(*this, key, "an array of integers");
  std::vector<int64_t> out;
  if (value.is_array())
    for (const Json& item : value) out.push_back(to_integer(*this, key, item));
  else
    out.push_back(to_integer(*this, key, value));
  return out;
}

std::vector<double> Config::numbers(std::string_view key) const {
  const Json& value = require(*this, key, "an array of numbers");
  if (!value.is_array()) fail_type(*this, key, "an array of numbers", value);
  std::vector<double> out;
  for (const Json& item : value) out.push_back(to_number(*this, key, item));
  return out;
}

std::vector<std::string> Config::strings(std::string_view key) const {
  const Json& value = require(*this, key, "an array of strings");
  if (!value.is_array()) fail_type(*this, key, "an array of strings", value);
  std::vector<std::string> out;
  for (const Json& item : value) out.push_back(to_string(*this, key, item));
  return out;
}

int64_t Config::integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double Config::number_or(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool Config::boolean_or(std::string_view key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}

std::string Config::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

std::optional<Config> Config::find(std::string_view key) const {
  const Json* value = lookup(*part_, key);
  if (value == nullptr) return std::nullopt;
  return Config(root_, value, format("{}: {}", path_, key));
}

Config Config::sub(std::string_view key) const {
  return Config(root_, &require(*this, key, "an object"), format("{}: {}", path_, key));
}

Config Config::sub_or_self(std::string_view key) const {
  return find(key).value_or(*this);
}

}  // namespace quern

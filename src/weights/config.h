// SPDX-License-Identifier: Apache-2.0
// Config: a read-only view of config.json (or a nested part of it) with typed getters that name the
// missing key.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern {

class Config {
 public:
  // `path` is how messages name this part: "config.json", "config.json: vision_config".
  Config(std::shared_ptr<const Json> root, const Json* part, std::string path);
  static Config parse(std::string_view text, std::string path);
  static Config read(const std::string& file);

  bool has(std::string_view key) const;  // present and not null
  // Required keys: throw data_loss naming key and expected type. integer() also checks min <= value
  // <= max.
  int64_t integer(std::string_view key, int64_t min = 1, int64_t max = int64_t{1} << 40) const;
  double number(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::string string(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;  // an array, or one integer
  std::vector<double> numbers(std::string_view key) const;    // an array
  std::vector<std::string> strings(std::string_view key) const;
  // Optional keys: the fallback when absent or null; a wrong type still throws.
  int64_t integer_or(std::string_view key,
                     int64_t fallback,
                     int64_t min = 0,
                     int64_t max = int64_t{1} << 40) const;
  double number_or(std::string_view key, double fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  // A nested object; sub_or_self gives this one when it is absent (text_config of newer saves).
  Config sub(std::string_view key) const;
  Config sub_or_self(std::string_view key) const;
  std::optional<Config> find(std::string_view key) const;

  const Json& json() const { return *part_; }
  const std::string& path() const { return path_; }

 private:
  std::shared_ptr<const Json> root_;
  const Json* part_;
  std::string path_;
};

}  // namespace quern

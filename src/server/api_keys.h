// SPDX-License-Identifier: Apache-2.0
// ApiKeys: who may ask.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern {

class ApiKeys {
 public:
  ApiKeys() = default;
  // No keys: everyone may. Throws invalid_argument for an empty key.
  explicit ApiKeys(std::vector<std::string> keys);

  bool is_required() const { return !keys_.empty(); }
  // Whether an Authorization header ("Bearer …") carries one of the keys. The time it takes tells
  // nothing about the keys but their lengths.
  bool accepts(std::string_view authorization) const;

 private:
  std::vector<std::string> keys_;
};

}  // namespace quern

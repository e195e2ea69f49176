// SPDX-License-Identifier: Apache-2.0
#include "server/api_keys.h"

#include "base/error.h"
#include "server/http_types.h"

namespace quern {
namespace {

// Reads every byte of both whatever it finds. volatile keeps the compiler from leaving early.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  volatile unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference = difference | static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^
                                                    static_cast<unsigned char>(other));
  }
  return difference == 0;
}

}  // namespace

ApiKeys::ApiKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {
  for (const std::string& key : keys_)
    if (key.empty()) fail(ErrorCode::invalid_argument, "an API key is empty");
}

bool ApiKeys::accepts(std::string_view authorization) const {
  if (keys_.empty()) return true;
  constexpr std::string_view kScheme = "bearer ";
  if (to_lower(authorization.substr(0, kScheme.size())) != kScheme) return false;
  std::string_view given = authorization.substr(kScheme.size());
  while (given.starts_with(' ')) given.remove_prefix(1);
  bool is_known = false;
  for (const std::string& key : keys_) is_known |= equal_in_constant_time(given, key);
  return is_known;
}

}  // namespace quern

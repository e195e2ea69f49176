// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/filters.h"

#include <algorithm>
#include <array>

namespace quern::jinja {

Filter find_filter(std::string_view name) {
  for (const auto group : {text_filters(),
                           sequence_filters(),
                           selection_filters(),
                           number_filters(),
                           conversion_filters()}) {
    for (const auto& [known, filter] : group) {
      if (known == name) return filter;
    }
  }
  return nullptr;
}

bool is_unsupported_filter(std::string_view name) {
  constexpr std::array<std::string_view, 6> kUnsupported = {
      "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"};
  return std::find(kUnsupported.begin(), kUnsupported.end(), name) != kUnsupported.end();
}

}  // namespace quern::jinja

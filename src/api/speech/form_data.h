// SPDX-License-Identifier: Apache-2.0
// multipart/form-data (RFC 7578), as clients upload files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct FormPart {
  std::string name;
  std::string file_name;   // empty: no file
  std::string_view value;  // into the body
};

constexpr size_t kMostFormParts = 64, kMostPartHeadBytes = 8192;

// Throws RequestError{invalid_argument} for another content type, no boundary, parts without an end
// or a name, and more than the above.
std::vector<FormPart> parse_form_data(std::string_view body, std::string_view content_type);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/field_origins.h"

#include <cctype>

namespace quern {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

// How far the path goes that begins at `text`: names, dots and indices.
size_t path_length(std::string_view text) {
  size_t end = 0;
  while (end < text.size() &&
         (is_word(text[end]) || text[end] == '.' || text[end] == '[' || text[end] == ']'))
    ++end;
  return end;
}

}  // namespace

std::string FieldOrigins::renamed(std::string_view text) const {
  std::string out;
  while (!text.empty()) {
    if (!is_word(text.front())) {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::string_view path = text.substr(0, path_length(text));
    text.remove_prefix(path.size());
    size_t end = path.size();
    auto found = names_.end();
    for (; end > 0 && found == names_.end(); --end) {
      // A path ends where a name does.
      if (end < path.size() && is_word(path[end]) && is_word(path[end - 1])) continue;
      found = names_.find(path.substr(0, end));
      if (found != names_.end()) break;
    }
    out +=
        found == names_.end() ? std::string(path) : found->second + std::string(path.substr(end));
  }
  return out;
}

void FieldOrigins::rethrow(const Error& error) const {
  if (const auto* e = dynamic_cast<const RequestError*>(&error))
    throw RequestError(e->code(), renamed(e->param()), renamed(e->what()), e->reason());
  throw Error(error.code(), renamed(error.what()));
}

}  // namespace quern

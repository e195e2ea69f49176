// SPDX-License-Identifier: Apache-2.0
#include "api/speech/form_data.h"

#include <algorithm>
#include <cctype>

#include "api/api_error.h"

namespace quern {
namespace {

constexpr size_t kMostBoundaryBytes = 200;  // RFC 2046 says 70

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

std::string_view without_blanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// The parameter `name` of a header's value ("form-data; name=\"file\""); empty if it has none.
std::string parameter(std::string_view value, std::string_view name) {
  size_t at = value.find(';');
  while (at != std::string_view::npos && at + 1 < value.size()) {
    const size_t equals = value.find('=', at);
    if (equals == std::string_view::npos) break;
    const std::string_view key = without_blanks(value.substr(at + 1, equals - at - 1));
    std::string text;
    size_t end = equals + 1;
    if (end < value.size() && value[end] == '"') {
      for (++end; end < value.size() && value[end] != '"'; ++end) {
        if (value[end] == '\\' && end + 1 < value.size()) ++end;
        text += value[end];
      }
      end = value.find(';', end);
    } else {
      end = value.find(';', end);
      text = without_blanks(value.substr(equals + 1, end - equals - 1));
    }
    if (equals_ignoring_case(key, name)) return text;
    at = end;
  }
  return "";
}

std::string boundary_of(std::string_view content_type) {
  const std::string_view kind = without_blanks(content_type.substr(0, content_type.find(';')));
  if (!equals_ignoring_case(kind, "multipart/form-data"))
    fail_field("", "the body must be a form: send \"Content-Type: multipart/form-data\"");
  const std::string boundary = parameter(content_type, "boundary");
  if (boundary.empty() || boundary.size() > kMostBoundaryBytes)
    fail_field("",
               "Content-Type: multipart/form-data: expected a boundary of 1 to {} bytes, got {}",
               kMostBoundaryBytes,
               boundary.size());
  return boundary;
}

FormPart read_head(std::string_view head, size_t number) {
  FormPart part;
  while (!head.empty()) {
    const size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos &&
        equals_ignoring_case(line.substr(0, colon), "content-disposition")) {
      part.name = parameter(line.substr(colon + 1), "name");
      part.file_name = parameter(line.substr(colon + 1), "filename");
    }
    head = end == std::string_view::npos ? std::string_view() : head.substr(end + 2);
  }
  if (part.name.empty()) fail_field("", "form: part {} has no name", number);
  return part;
}

}  // namespace

std::vector<FormPart> parse_form_data(std::string_view body, std::string_view content_type) {
  const std::string mark = "--" + boundary_of(content_type), next = "\r\n" + mark;
  std::vector<FormPart> parts;
  size_t at = body.starts_with(mark) ? 0 : body.find(next);
  if (at == std::string_view::npos) fail_field("", "form: the body holds no part");
  at += at == 0 ? mark.size() : next.size();
  while (!body.substr(at).starts_with("--")) {
    if (parts.size() == kMostFormParts)
      fail_field("", "form: expected at most {} parts", kMostFormParts);
    const size_t line = body.find("\r\n", at), head = line + 2;
    // A part may have no headers at all: it then has no name.
    const size_t end = line == std::string_view::npos ? line : body.find("\r\n\r\n", line);
    if (end == std::string_view::npos || end - line > kMostPartHeadBytes)
      fail_field("",
                 "form: part {}: expected headers of at most {} bytes and an empty line",
                 parts.size(),
                 kMostPartHeadBytes);
    FormPart part =
        read_head(end < head ? std::string_view() : body.substr(head, end - head), parts.size());
    const size_t begin = end + 4, close = body.find(next, end + 2);
    if (close == std::string_view::npos || close + 2 < begin)
      fail_field("", "form: part {} (\"{:.100}\") does not end", parts.size(), part.name);
    part.value = close < begin ? std::string_view() : body.substr(begin, close - begin);
    parts.push_back(std::move(part));
    at = close + next.size();
    if (at + 2 > body.size()) fail_field("", "form: the body ends in the midst of a boundary");
  }
  return parts;
}

}  // namespace quern

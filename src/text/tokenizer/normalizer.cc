// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/normalizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr size_t kMaxNormalizedBytes = size_t{256} << 20;

bool is_ascii(std::string_view text) {
  return std::all_of(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string strip(std::string_view text, bool left, bool right) {
  size_t begin = text.size(), end = 0;  // of what is not white space
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    if (char_class(utf8_at(text, at, length)) & kSpace) continue;
    begin = std::min(begin, at);
    end = at + length;
  }
  if (begin > end) return std::string(left || right ? std::string_view() : text);
  if (!left) begin = 0;
  if (!right) end = text.size();
  return std::string(text.substr(begin, end - begin));
}

std::string strip_accents(std::string_view text) {
  std::string out;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    const char32_t c = utf8_at(text, at, length);
    if (!(char_class(c) & kMark) || is_unknown_to_forms(c)) out.append(text.substr(at, length));
  }
  return out;
}

// Appends text[from, match.begin) and the replacement.
void append_replaced(
    std::string_view text, size_t from, Span match, const std::string& content, std::string& out) {
  out.append(text.substr(from, match.begin - from)).append(content);
  if (out.size() > kMaxNormalizedBytes)
    fail(ErrorCode::exhausted,
         "normalizer: replacing makes more than {} MiB of {} bytes; shorten the text",
         kMaxNormalizedBytes >> 20,
         text.size());
}

std::string replace(std::string_view text, const NormalizeStep& step) {
  std::string out;
  size_t from = 0;
  if (step.kind == NormalizeStep::Kind::replace_regex) {
    for (const Span& match : step.regex->find_all(text)) {
      append_replaced(text, from, match, step.content, out);
      from = match.end;
    }
  } else {
    for (size_t at = text.find(step.pattern); at != std::string_view::npos;
         at = text.find(step.pattern, from)) {
      append_replaced(text, from, {at, at}, step.content, out);
      from = at + step.pattern.size();
    }
  }
  return out.append(text.substr(from));
}

std::string apply_step(std::string_view text, const NormalizeStep& step) {
  switch (step.kind) {
    case NormalizeStep::Kind::form:
      return normalize_unicode(text, step.form);
    case NormalizeStep::Kind::lowercase:
      return lowercase_unicode(text);
    case NormalizeStep::Kind::strip:
      return strip(text, step.strips_left, step.strips_right);
    case NormalizeStep::Kind::strip_accents:
      return strip_accents(text);
    case NormalizeStep::Kind::replace_literal:
    case NormalizeStep::Kind::replace_regex:
      return replace(text, step);
    case NormalizeStep::Kind::prepend:
      return text.empty() ? std::string() : step.content + std::string(text);
  }
  return std::string(text);
}

}  // namespace

std::string_view Normalizer::apply(std::string_view text, std::string& storage) const {
  for (const NormalizeStep& step : steps_) {
    if (step.kind == NormalizeStep::Kind::form && is_ascii(text)) continue;
    storage = apply_step(text, step);
    text = storage;
  }
  return text;
}

}  // namespace quern

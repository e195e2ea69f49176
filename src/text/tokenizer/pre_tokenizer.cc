// SPDX-License-Identifier: Apache-2.0
// The order of operations and the meaning of each behavior follow the `tokenizers` library, version
// 0.23.
#include "text/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

// A part of a piece and whether it matched. The parts of a piece tile it.
struct Part {
  Span span;
  bool is_match;
};

void add_part(Span span, bool is_match, std::vector<Part>& parts) {
  if (span.begin < span.end) parts.push_back({span, is_match});
}

// Walks the text with `end_at(at)`, which gives the end of the match that begins at `at`, or `at`;
// hands each part to `emit(span, is_match)`.
template <typename EndAt, typename Emit>
void walk(std::string_view text, EndAt end_at, Emit emit) {
  size_t gap = 0;  // what did not match since the last match begins here
  for (size_t at = 0; at < text.size();) {
    const size_t end = end_at(at);
    if (end == at) {
      size_t length = 0;
      utf8_at(text, at, length);
      at += length;
      continue;
    }
    if (gap < at) emit(Span{gap, at}, false);
    emit(Span{at, end}, true);
    gap = at = end;
  }
  if (gap < text.size()) emit(Span{gap, text.size()}, false);
}

void find_regex_parts(std::string_view text, const Regex& regex, std::vector<Part>& parts) {
  size_t previous = 0;
  for (const Span& match : regex.find_all(text)) {
    add_part({previous, match.begin}, false, parts);
    add_part(match, true, parts);
    previous = match.end;
  }
  add_part({previous, text.size()}, false, parts);
}

bool is_in_class(char32_t c, SplitClass chars) {
  const uint16_t bits = char_class(c);
  switch (chars) {
    case SplitClass::numeric:
      return (bits & kNumber) != 0;
    case SplitClass::space:
      return (bits & kSpace) != 0;
    case SplitClass::punctuation:
      return (bits & kPunctuation) != 0 ||
             (c < 0x80 && (bits & kSymbol) != 0);  // all ASCII signs count
    case SplitClass::none:
      break;
  }
  return false;
}

std::vector<Part> find_parts(std::string_view text, const SplitStep& step) {
  std::vector<Part> parts;
  const auto emit = [&](Span span, bool is_match) { parts.push_back({span, is_match}); };
  if (step.match) {
    walk(
        text, [&](size_t at) { return step.match(text, at); }, emit);
  } else if (step.regex) {
    find_regex_parts(text, *step.regex, parts);
  } else if (!step.literal.empty()) {
    const std::string_view literal = step.literal;
    walk(
        text,
        [&](size_t at) { return text.substr(at).starts_with(literal) ? at + literal.size() : at; },
        emit);
  } else if (step.chars != SplitClass::none) {
    const auto end_at = [&](size_t at) {
      size_t length = 0;
      return is_in_class(utf8_at(text, at, length), step.chars) ? at + length : at;
    };
    walk(text, end_at, emit);
  } else {
    add_part({0, text.size()}, false, parts);
  }
  return parts;
}

// Joins parts in place: `joins(previous, current)` tells whether `current` goes to the part before
// it.
template <typename Joins>
void join_parts(std::vector<Part>& parts, Joins joins) {
  std::vector<Part> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (!out.empty() && joins(previous, part.is_match))
      out.back().span.end = part.span.end;
    else
      out.push_back(part);
    previous = part.is_match;
  }
  parts = std::move(out);
}

void join_with_next(std::vector<Part>& parts) {
  std::vector<Part> out;
  bool following = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!out.empty() && part->is_match && !following)
      out.back().span.begin = part->span.begin;
    else
      out.push_back(*part);
    following = part->is_match;
  }
  std::reverse(out.begin(), out.end());
  parts = std::move(out);
}

void apply_behavior(SplitBehavior behavior, std::vector<Part>& parts) {
  switch (behavior) {
    case SplitBehavior::isolated:
      return;
    case SplitBehavior::removed:
      std::erase_if(parts, [](const Part& p) { return p.is_match; });
      return;
    case SplitBehavior::contiguous:
      return join_parts(parts, [](bool before, bool now) { return before == now; });
    case SplitBehavior::merged_with_previous:
      return join_parts(parts, [](bool before, bool now) { return now && !before; });
    case SplitBehavior::merged_with_next:
      return join_with_next(parts);
  }
}

void split_piece(std::string_view text, const SplitStep& step, Pieces& out) {
  if (step.adds_prefix_space && !text.starts_with(' '))
    text = out.owned.emplace_back(1, ' ').append(text);
  const auto emit = [&](Span span, bool) {
    out.views.push_back(text.substr(span.begin, span.end - span.begin));
  };
  if (step.match &&
      step.behavior == SplitBehavior::isolated)  // the usual case needs no list of parts
    return walk(
        text, [&](size_t at) { return step.match(text, at); }, emit);
  std::vector<Part> parts = find_parts(text, step);
  if (step.inverts)
    for (Part& part : parts) part.is_match = !part.is_match;
  apply_behavior(step.behavior, parts);
  for (const Part& part : parts) emit(part.span, part.is_match);
}

}  // namespace

SplitStep split_at_regex(std::string_view regex, SplitBehavior behavior) {
  SplitStep step;
  step.behavior = behavior;
  step.match = find_word_pattern(regex);
  if (!step.match) step.regex.emplace(std::string(regex));
  return step;
}

SplitStep split_at_class(SplitClass chars, SplitBehavior behavior) {
  SplitStep step;
  step.chars = chars;
  step.behavior = behavior;
  return step;
}

Pieces PreTokenizer::split(std::string_view text) const {
  Pieces pieces;
  if (!text.empty()) pieces.views.push_back(text);
  for (const SplitStep& step : steps_) {
    const std::vector<std::string_view> before = std::move(pieces.views);
    pieces.views.clear();
    for (const std::string_view piece : before) split_piece(piece, step, pieces);
  }
  return pieces;
}

}  // namespace quern

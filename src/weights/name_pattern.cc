// SPDX-License-Identifier: Apache-2.0
#include "weights/name_pattern.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kMostCharacters = 256, kMostDigits = 4;
constexpr std::string_view kLayer = "{n}", kPart = "{part}";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// How many characters at the beginning of `text` are a layer's number; 0: none.
size_t layer_length(std::string_view text) {
  const auto digits = static_cast<size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
  return digits > kMostDigits || (digits > 1 && text.front() == '0') ? 0 : digits;
}

size_t word_length(std::string_view text) {
  const auto length = static_cast<size_t>(std::ranges::find_if_not(text, is_word) - text.begin());
  return length < text.size() && text[length] != '.' ? 0 : length;
}

[[noreturn]] void fail_pattern(std::string_view text, std::string_view why) {
  fail(ErrorCode::data_loss, "pattern \"{:.300}\": {}", text, why);
}

}  // namespace

NamePattern NamePattern::parse(std::string_view text) {
  if (text.empty() || text.size() > kMostCharacters)
    fail_pattern(text, "expected 1 to 256 characters");
  NamePattern out;
  out.text_ = text;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t brace = std::min(rest.find_first_of("{}"), rest.size());
    if (brace > 0) out.pieces_.push_back({Kind::literal, std::string(rest.substr(0, brace))});
    rest.remove_prefix(brace);
    if (rest.empty()) break;
    const bool is_layer = rest.starts_with(kLayer), is_part = rest.starts_with(kPart);
    if (!is_layer && !is_part)
      fail_pattern(text, "the places are {n}, a layer, and {part}, a word");
    bool& is_taken = is_layer ? out.has_layer_ : out.has_part_;
    if (is_taken) fail_pattern(text, "a place may stand in it once");
    is_taken = true;
    const bool begins_word = out.pieces_.empty() || out.pieces_.back().literal.ends_with('.');
    rest.remove_prefix(is_layer ? kLayer.size() : kPart.size());
    if (is_layer && !rest.empty() && (is_digit(rest.front()) || rest.front() == '{'))
      fail_pattern(text, "{n} must end where a digit cannot follow");
    if (is_part && (!begins_word || (!rest.empty() && rest.front() != '.')))
      fail_pattern(text, "{part} must stand between dots, or at the end");
    out.pieces_.push_back({is_layer ? Kind::layer : Kind::part, {}});
  }
  return out;
}

std::optional<NamePlaces> NamePattern::match(std::string_view name) const {
  NamePlaces places;
  for (const Piece& piece : pieces_) {
    if (piece.kind == Kind::literal) {
      if (!name.starts_with(piece.literal)) return std::nullopt;
      name.remove_prefix(piece.literal.size());
      continue;
    }
    const size_t length = piece.kind == Kind::layer ? layer_length(name) : word_length(name);
    if (length == 0) return std::nullopt;
    (piece.kind == Kind::layer ? places.layer : places.part) = name.substr(0, length);
    name.remove_prefix(length);
  }
  return name.empty() ? std::optional(std::move(places)) : std::nullopt;
}

std::string NamePattern::fill(const NamePlaces& places) const {
  std::string out;
  for (const Piece& piece : pieces_)
    out += piece.kind == Kind::literal ? piece.literal
           : piece.kind == Kind::layer ? places.layer
                                       : places.part;
  return out;
}

}  // namespace quern

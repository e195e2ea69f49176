// SPDX-License-Identifier: Apache-2.0
// Spoken text cut into pieces, by the rules of GLM-TTS's text front end.
#include "text/spoken/pieces.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/python_text.h"
#include "text/spoken/punctuation.h"
#include "text/spoken/readings.h"
#include "text/spoken/spoken_text.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr double kLengthOfSyllable = 0.7;

// A character or a word, with the spaces behind it.
struct Unit {
  std::u32string text;
  double length = 1;
  bool is_pause = false;
};

bool is_ideograph(char32_t c) {
  return (char_class(c) & kHan) != 0;
}

std::vector<std::u32string> words_and_characters(std::u32string_view text) {
  std::vector<std::u32string> out;
  bool is_in_word = false;
  for (const char32_t c : text) {
    const bool is_word =
        !is_ideograph(c) && (jinja::is_alpha(c) || (is_in_word && (c == U'\'' || c == U'-')));
    const bool continues = (is_word && is_in_word) || (jinja::is_space(c) && !out.empty());
    if (continues)
      out.back() += c;
    else
      out.emplace_back(1, c);
    is_in_word = is_word;
  }
  return out;
}

std::vector<Unit> units_of(std::u32string_view text) {
  std::vector<Unit> out;
  for (std::u32string& written : words_and_characters(text)) {
    size_t end = written.size();
    while (end > 0 && jinja::is_space(written[end - 1])) --end;
    const std::u32string_view word = std::u32string_view(written).substr(0, end);
    Unit unit;
    const bool is_english =
        !word.empty() && std::all_of(word.begin(), word.end(), spoken::is_ascii_letter);
    if (is_english) unit.length = count_syllables(jinja::encode_utf8(word)) * kLengthOfSyllable;
    unit.is_pause = word.size() == 1 && spoken::is_pause(word[0]);
    unit.text = std::move(written);
    out.push_back(std::move(unit));
  }
  return out;
}

using Units = std::span<const Unit>;

bool is_longer(Units units, double most) {
  double length = 0;
  for (const Unit& unit : units) {
    length += unit.length;
    if (length > most) return true;
  }
  return false;
}

void add_piece(Units units, std::vector<std::string>& out) {
  std::u32string piece;
  for (const Unit& unit : units) piece += unit.text;
  if (!piece.empty()) out.push_back(jinja::encode_utf8(piece));
}

// A sentence that is too long is cut behind `most` units, or one more if that is a mark. Where it
// has no more units than that, it stays whole (the reference fails there).
void add_cut(Units sentence, size_t most, std::vector<std::string>& out) {
  while (sentence.size() > most && is_longer(sentence, static_cast<double>(most))) {
    const size_t count = sentence[most].is_pause ? most + 1 : most;
    add_piece(sentence.first(count), out);
    sentence = sentence.subspan(count);
  }
  add_piece(sentence, out);
}

}  // namespace

std::vector<std::string> split_spoken(std::string_view text, const PieceLengths& lengths) {
  constexpr size_t kMostBytes = 64 * kMaxSpokenBytes;
  if (text.size() > kMostBytes || lengths.most < 1)
    fail(ErrorCode::invalid_argument,
         "pieces of a text: {} bytes (at most {}), cut behind {} words (at least 1)",
         text.size(),
         kMostBytes,
         lengths.most);
  std::string valid;
  append_lossy_utf8(text, true, valid);
  const std::vector<Unit> units = units_of(jinja::decode_utf8(valid));
  const auto most = static_cast<size_t>(lengths.most);
  std::vector<std::string> out;
  size_t begin = 0;
  double length = 0;
  for (size_t at = 0; at < units.size(); ++at) {
    length += units[at].length;
    if (!units[at].is_pause || length < lengths.least) continue;
    add_cut(Units(units).subspan(begin, at + 1 - begin), most, out);
    begin = at + 1;
    length = 0;
  }
  add_cut(Units(units).subspan(begin), most, out);
  return out;
}

std::vector<size_t> kept_pieces(std::span<const CachedPiece> pieces,
                                int64_t new_text_tokens,
                                int64_t most_speech_tokens) {
  int64_t text = 0, speech = 0;
  for (const CachedPiece& piece : pieces) {
    if (piece.text_tokens < 0 || piece.speech_tokens < 0)
      fail(ErrorCode::invalid_argument,
           "cached piece: {} tokens of text and {} of speech; neither may be below 0",
           piece.text_tokens,
           piece.speech_tokens);
    text += piece.text_tokens;
    speech += piece.speech_tokens;
  }
  const double ratio = static_cast<double>(speech) / (text > 0 ? static_cast<double>(text) : 1.0);
  constexpr double kMost = 1e15;  // an integer still
  const auto expected =
      static_cast<int64_t>(std::clamp(ratio * static_cast<double>(new_text_tokens), 0.0, kMost));
  size_t dropped = 0;
  while (speech + expected > most_speech_tokens && dropped + 1 < pieces.size())
    speech -= pieces[++dropped].speech_tokens;
  std::vector<size_t> out;
  for (size_t i = 0; i < pieces.size(); ++i)
    if (i == 0 || i > dropped) out.push_back(i);
  return out;
}

}  // namespace quern

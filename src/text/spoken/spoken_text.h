// SPDX-License-Identifier: Apache-2.0
// Text as a speech model reads it: numbers, dates, times, money, units and signs as words, little
// punctuation, lower case. The rules are those of GLM-TTS's text front end with WeTextProcessing
// 1.0.3 (docs/models/glm-tts-text.md says where they differ). Its phoneme mode is not made.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace quern {

// Longer texts are refused.
constexpr size_t kMaxSpokenBytes = 100'000;

// All steps for one text: UTF-8 in (bad parts count as U+FFFD), UTF-8 out; never empty, as it ends
// with a mark. Time grows with the length of the text. Throws invalid_argument beyond
// kMaxSpokenBytes.
std::string spoken_text(std::string_view text);

// The same steps, one by one, each with a bound of its own that the steps before cannot reach.
enum class SpokenLanguage { chinese, english };

struct PreparedText {
  SpokenLanguage language = SpokenLanguage::english;  // Chinese if one Chinese character is in it
  std::string text;
};

// Before the numbers: list numbers of Markdown, lines joined, emoji and hyphens gone.
PreparedText prepare_spoken_text(std::string_view text);
// The normaliser of numbers and the like.
std::string read_numbers(std::string_view text, SpokenLanguage language);
// Behind it: signs, brackets, punctuation, the ending.
std::string finish_spoken_text(std::string_view text, SpokenLanguage language);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Hand-written matchers for the split patterns of published tokenizers. They give what Oniguruma
// gives (a test compares them), in linear time for any text and without its stack: a megabyte of
// spaces costs it 40 MB.
#pragma once

#include <cstddef>
#include <string_view>

namespace quern {

// The end of the match that begins at text[at], or `at` if the pattern does not match there. Text
// is valid UTF-8.
using MatchAt = size_t (*)(std::string_view text, size_t at);

// The matcher for exactly this regular expression, or nullptr if it is not one of the known ones.
MatchAt find_word_pattern(std::string_view regex);

// \w+|[^\w\s]+ with Unicode's \w, which has the join controls in it (Oniguruma's has not).
size_t match_word_or_signs(std::string_view text, size_t at);

// The known expressions, as they stand in tokenizer.json.
namespace patterns {
inline constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Kimi K2. The alternatives are those of its tokenization file, in its order.
inline constexpr std::string_view kKimi =
    R"([\p{Han}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek V3 splits three times: numbers, then kana and ideographs, then words.
inline constexpr std::string_view kUpToThreeNumbers = R"(\p{N}{1,3})";
inline constexpr std::string_view kKanaAndHan = "[一-龥\u3040-ゟ゠-ヿ]+";
inline constexpr std::string_view kDeepSeekWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Parts of the splits of DeepSeek LLM, V2 and Coder.
inline constexpr std::string_view kNumber = R"(\p{N})";
inline constexpr std::string_view kTrailingSpace = R"(\s+$)";
}  // namespace patterns

}  // namespace quern

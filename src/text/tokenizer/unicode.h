// SPDX-License-Identifier: Apache-2.0
// Unicode facts that tokenizers ask for: classes of characters, normal forms, lower case. Text is
// valid UTF-8 throughout.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quern {

// Bits of char_class. The general categories L, N, M, P, S; what \s and \w mean; and the letter
// classes of newer patterns.
enum CharClass : uint16_t {
  kLetter = 1 << 0,
  kNumber = 1 << 1,
  kMark = 1 << 2,
  kPunctuation = 1 << 3,
  kSymbol = 1 << 4,
  kSpace = 1 << 5,       // White_Space
  kNewline = 1 << 6,     // \r and \n
  kWord = 1 << 7,        // Alphabetic, M, Nd, Pc, Join_Control
  kHan = 1 << 8,         // script Han
  kUpperLike = 1 << 9,   // Lu Lt Lm Lo M
  kLowerLike = 1 << 10,  // Ll Lm Lo M
};

uint16_t char_class(char32_t code_point);

// Whether the reference's normal forms, whose tables are older, do not know this mark or
// decomposition.
bool is_unknown_to_forms(char32_t code_point);

enum class NormalForm { nfc, nfd, nfkc, nfkd };

// The normal form of `text`, in time n log n also for long runs of combining marks.
std::string normalize_unicode(std::string_view text, NormalForm form);

// Each character's full lower-case mapping, without context (a final sigma stays an ordinary one).
std::string lowercase_unicode(std::string_view text);

}  // namespace quern

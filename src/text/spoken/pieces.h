// SPDX-License-Identifier: Apache-2.0
// Spoken text cut into pieces, each spoken in one go, and which earlier pieces the next one hears.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

// Lengths count a Chinese character, a mark or a word that is not plain ASCII as 1, another word as
// 0.7 a syllable.
struct PieceLengths {
  double least = 30;  // a piece ends at the first mark from here on
  int most = 60;      // one without marks is cut behind so many words and characters
};

// Cuts text that spoken_text made; joined, the pieces are the text (bad UTF-8 becomes U+FFFD).
// Throws invalid_argument beyond what spoken_text can return, 64 times kMaxSpokenBytes.
std::vector<std::string> split_spoken(std::string_view text, const PieceLengths& lengths = {});

// Syllables of an English word of ASCII letters: by its spelling, with a list of common
// words that are spelled otherwise.
int count_syllables(std::string_view word);

// Lengths of one cached piece, in tokens.
struct CachedPiece {
  int64_t text_tokens = 0, speech_tokens = 0;
};

// Indices of the cached pieces, the first of which is the prompt, that stand before a new piece of
// `new_text_tokens`: while speech kept and expected (by the ratio of all pieces) are above
// `most_speech_tokens`, the oldest behind the prompt goes.
std::vector<size_t> kept_pieces(std::span<const CachedPiece> pieces,
                                int64_t new_text_tokens,
                                int64_t most_speech_tokens = 750);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// The printable alphabet in which byte-level vocabularies write bytes: each of the 256 bytes is one
// character ("Ġ" is a space). From GPT-2's encoder (Radford et al. 2019, encoder.py).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quern {

// The bytes that `text` writes; nothing if some character is not of the alphabet.
std::optional<std::string> bytes_of_alphabet(std::string_view text);

// `bytes` written in the alphabet, valid UTF-8.
std::string alphabet_of_bytes(std::string_view bytes);

}  // namespace quern

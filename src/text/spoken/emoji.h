// SPDX-License-Identifier: Apache-2.0
// Emoji, which are not read aloud.
#pragma once

#include <string>
#include <string_view>

namespace quern::spoken {

// `text` without emoji (Unicode 16's, with their joiners, skin tones and variation selectors, flags
// and keycaps).
std::u32string remove_emoji(std::u32string_view text);

}  // namespace quern::spoken

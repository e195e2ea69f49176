// SPDX-License-Identifier: Apache-2.0
// What stands between a model's words and the shell of a phone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern::agent {

// One word of a POSIX shell, whatever the text holds: in single quotes, each quote inside as '\''.
// A NUL, which no word can hold, is left out.
std::string shell_quoted(std::string_view text);

// The words, quoted, with blanks between.
std::string shell_command(const std::vector<std::string>& words);

// Whether `input text` can type it: printable ASCII, no line breaks.
bool is_typable(std::string_view text);

// The arguments of as many calls of `input text` as it takes. It reads "%s" as a blank and knows no
// way to write a % in front of an s, so such a pair is cut apart; long texts are cut as well.
std::vector<std::string> input_text_pieces(std::string_view text);

}  // namespace quern::agent

// SPDX-License-Identifier: Apache-2.0
// Detokenizer: the ids of one stream → increments of text that are valid UTF-8 and never hold half
// a character.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace quern {

class Detokenizer {
 public:
  // `tokenizer` must outlive this. With skip_special, special tokens give no text, but for those of
  // `shown`.
  explicit Detokenizer(const Tokenizer& tokenizer,
                       bool skip_special = true,
                       std::vector<int32_t> shown = {});

  // The text that `id` completes; empty while a character is still open, or what may become a line
  // break (Tokenizer::line_break). Bytes that cannot become a
  // character come out as U+FFFD, one for each maximal bad part, so that all increments together
  // equal Tokenizer::decode of all ids.
  std::string push(int32_t id);
  // What is still open, a character as U+FFFD; then the stream is at its beginning again.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::vector<int32_t> shown_;  // few
  std::string open_;            // bytes of an unfinished character, or of a line break's mark
};

}  // namespace quern

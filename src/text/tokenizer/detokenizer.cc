// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/detokenizer.h"

#include <algorithm>

#include "text/tokenizer/line_breaks.h"
#include "text/tokenizer/utf8.h"

namespace quern {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special, std::vector<int32_t> shown)
    : tokenizer_(&tokenizer), skip_special_(skip_special), shown_(std::move(shown)) {}

std::string Detokenizer::push(int32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_->is_special(id) &&
      std::find(shown_.begin(), shown_.end(), id) == shown_.end())
    return text;
  open_ += tokenizer_->token_bytes(id);
  const std::string_view mark = tokenizer_->line_break();
  replace_line_breaks(mark, open_);
  const size_t whole = open_.size() - begun_line_break(mark, open_);
  open_.erase(0, append_lossy_utf8(std::string_view(open_).substr(0, whole), false, text));
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  append_lossy_utf8(open_, true, text);
  open_.clear();
  return text;
}

}  // namespace quern

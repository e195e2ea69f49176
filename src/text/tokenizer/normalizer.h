// SPDX-License-Identifier: Apache-2.0
// Rewrites text before it is cut into words: normal forms, lower case, replacements.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/regex.h"
#include "text/tokenizer/unicode.h"

namespace quern {

struct NormalizeStep {
  enum class Kind {
    form,
    lowercase,
    strip,
    strip_accents,
    replace_literal,
    replace_regex,
    prepend
  };
  Kind kind = Kind::form;
  NormalForm form = NormalForm::nfc;
  bool strips_left = true, strips_right = true;
  std::string pattern;         // replace_literal: what is replaced
  std::optional<Regex> regex;  // replace_regex
  std::string content;         // what comes in its place; prepend: what comes first
};

class Normalizer {
 public:
  void add(NormalizeStep step) { steps_.push_back(std::move(step)); }
  // The rewritten text: `text` itself if nothing changes it, else a view of `storage`. Valid UTF-8
  // stays valid. Throws exhausted if a replacement makes more than 256 MiB of it. Thread-safe.
  std::string_view apply(std::string_view text, std::string& storage) const;

 private:
  std::vector<NormalizeStep> steps_;
};

}  // namespace quern

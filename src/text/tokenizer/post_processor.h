// SPDX-License-Identifier: Apache-2.0
// Puts special tokens around the ids of a text.
#pragma once

#include <cstdint>
#include <vector>

namespace quern {

// One template: ids that come before and after the text's own (what "single" of TemplateProcessing
// says).
struct TokenTemplate {
  std::vector<int32_t> before, after;
};

class PostProcessor {
 public:
  void add(TokenTemplate t) { templates_.push_back(std::move(t)); }
  void clear() { templates_.clear(); }
  const std::vector<TokenTemplate>& templates() const { return templates_; }
  // Applies the templates in turn; each goes around what the one before made.
  void apply(std::vector<int32_t>& ids) const;

 private:
  std::vector<TokenTemplate> templates_;
};

}  // namespace quern

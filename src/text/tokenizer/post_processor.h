// SPDX-License-Identifier: Apache-2.0
// Puts special tokens around the ids of a text.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace quern {

// Ids around two texts in one: what "pair" of TemplateProcessing says.
struct PairTemplate {
  std::vector<int32_t> before, between, after;
};

// One template: ids that come before and after the text's own (what "single" of TemplateProcessing
// says).
struct TokenTemplate {
  std::vector<int32_t> before, after;
  std::optional<PairTemplate> pair = {};  // where it is known
};

class PostProcessor {
 public:
  void add(TokenTemplate t) { templates_.push_back(std::move(t)); }
  void clear() { templates_.clear(); }
  const std::vector<TokenTemplate>& templates() const { return templates_; }
  // Applies the templates in turn; each goes around what the one before made.
  void apply(std::vector<int32_t>& ids) const;
  // Puts `second` behind `ids`. Throws unsupported where nothing says how two texts are joined.
  void join(std::vector<int32_t>& ids, const std::vector<int32_t>& second) const;

 private:
  std::vector<TokenTemplate> templates_;
};

}  // namespace quern

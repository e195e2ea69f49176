// SPDX-License-Identifier: Apache-2.0
// Tokens that are found in the text itself, before anything is cut or merged: special tokens and
// tokens added later.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer/string_map.h"

namespace quern {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool is_special = false;
  bool is_normalized = false;   // searched in the normalized text, else in the text as it came
  bool is_single_word = false;  // only where no word character touches it
  bool strips_left = false;     // swallows white space before it
  bool strips_right = false;    // and after it
};

// A piece of text between added tokens (id -1), or an added token.
struct Segment {
  std::string_view text;
  int32_t id = -1;
};

// Finds the longest of a set of strings that begins at a position. The first added wins among equal
// ones.
class TokenTrie {
 public:
  TokenTrie() : values_(1, -1) {}
  void add(std::string_view text, int32_t value);
  // The value of the longest string that text[at…] begins with and its length; -1 if none does.
  int32_t longest(std::string_view text, size_t at, size_t& length) const;

 private:
  std::unordered_map<uint64_t, uint32_t> edges_;  // (node, byte) -> node
  std::vector<int32_t> values_;                   // by node
  bool starts_[256] = {};                         // bytes that some string begins with
};

class AddedTokens {
 public:
  // Which text is searched.
  enum class Stage { raw, normalized };

  // Remembers a token; a token with the same content is replaced, an empty content is ignored.
  void add(AddedToken token);
  // Builds the search; call once after the last add. `normalize` rewrites the contents of
  // normalized tokens.
  template <typename Normalize>
  void finish(Normalize normalize) {
    for (const bool special : {true, false})  // special tokens come first among equal contents
      for (size_t i = 0; i < tokens_.size(); ++i)
        if (tokens_[i].is_special == special)
          trie(tokens_[i].is_normalized)
              .add(tokens_[i].is_normalized ? normalize(tokens_[i].content) : tokens_[i].content,
                   static_cast<int32_t>(i));
  }

  // Cuts `text` at the tokens of this stage. With parse_special false, special tokens are plain
  // text.
  std::vector<Segment> split(std::string_view text, Stage stage, bool parse_special) const;

  const std::vector<AddedToken>& all() const { return tokens_; }
  // The token with this content, or nullptr; valid until the next add.
  const AddedToken* find(std::string_view content) const;

 private:
  TokenTrie& trie(bool is_normalized) { return is_normalized ? normalized_ : raw_; }

  std::vector<AddedToken> tokens_;
  StringMap<size_t> by_content_;
  TokenTrie raw_, normalized_;
};

}  // namespace quern

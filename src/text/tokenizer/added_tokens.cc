// SPDX-License-Identifier: Apache-2.0
// The rules, down to their corners (a rejected match still consumes its text), are those of the
// `tokenizers` library 0.23.
#include "text/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

uint64_t edge_key(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<unsigned char>(byte);
}

// The class bits of the character that ends at `end`; 0 at the beginning of the text.
uint16_t class_before(std::string_view text, size_t end, size_t& begin) {
  begin = end;
  if (end == 0) return 0;
  do --begin;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80);
  size_t length = 0;
  return char_class(utf8_at(text, begin, length));
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  size_t at = 0, length = 0;
  if (class_before(text, begin, at) & kWord) return true;
  return end < text.size() && (char_class(utf8_at(text, end, length)) & kWord) != 0;
}

size_t skip_space_left(std::string_view text, size_t at, size_t floor) {
  for (size_t begin = at; at > floor && (class_before(text, at, begin) & kSpace); at = begin) {
  }
  return at;
}

size_t skip_space_right(std::string_view text, size_t at) {
  for (size_t length = 0; at < text.size() && (char_class(utf8_at(text, at, length)) & kSpace);
       at += length) {
  }
  return at;
}

}  // namespace

void TokenTrie::add(std::string_view text, int32_t value) {
  if (text.empty()) return;
  starts_[static_cast<unsigned char>(text[0])] = true;
  uint32_t node = 0;
  for (const char byte : text) {
    const auto [edge, is_new] =
        edges_.emplace(edge_key(node, byte), static_cast<uint32_t>(values_.size()));
    if (is_new) values_.push_back(-1);
    node = edge->second;
  }
  if (values_[node] < 0) values_[node] = value;
}

int32_t TokenTrie::longest(std::string_view text, size_t at, size_t& length) const {
  if (!starts_[static_cast<unsigned char>(text[at])]) return -1;
  int32_t value = -1;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = edges_.find(edge_key(node, text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (values_[node] >= 0) value = values_[node], length = i + 1 - at;
  }
  return value;
}

void AddedTokens::add(AddedToken token) {
  if (token.content.empty()) return;
  const auto [entry, is_new] = by_content_.emplace(token.content, tokens_.size());
  if (is_new)
    tokens_.push_back(std::move(token));
  else
    tokens_[entry->second] = std::move(token);
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto entry = by_content_.find(content);
  return entry == by_content_.end() ? nullptr : &tokens_[entry->second];
}

std::vector<Segment> AddedTokens::split(std::string_view text,
                                        Stage stage,
                                        bool parse_special) const {
  const TokenTrie& trie = stage == Stage::normalized ? normalized_ : raw_;
  std::vector<Segment> segments;
  size_t done = 0;  // text before this has been handed out
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    const int32_t index = trie.longest(text, at, length);
    if (index < 0) {
      length = 1;
      continue;
    }
    const AddedToken& token = tokens_[index];
    if (token.is_special && !parse_special) continue;
    size_t begin = at, end = at + length;
    if (token.is_single_word && touches_word(text, begin, end)) continue;
    // What an earlier token swallowed is not taken twice; a token of nothing but such white space
    // disappears.
    if (token.strips_left) begin = std::max(done, skip_space_left(text, begin, done));
    if (token.strips_right) end = skip_space_right(text, end);
    if (begin >= end) continue;
    if (done < begin) segments.push_back({text.substr(done, begin - done), -1});
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), -1});
  return segments;
}

}  // namespace quern

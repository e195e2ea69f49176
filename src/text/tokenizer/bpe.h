// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding of one word: bytes in, token ids out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace quern {

// What a byte-level vocabulary is made of, whatever file it came from.
struct BpeVocabulary {
  struct Token {
    std::string bytes;
    // Made of bytes by merging; false for ids that do not exist and for tokens that only stand for
    // themselves.
    bool is_mergeable = false;
  };
  struct Merge {
    int32_t left, right, result;  // ids
    int32_t rank;                 // lower goes first
  };
  std::vector<Token> tokens;  // by id
  std::vector<Merge> merges;
  bool ignores_merges = false;  // a word that is a token becomes that token, without merging
  int32_t unknown_id = -1;      // for bytes without a token; -1: they are dropped
  bool fuses_unknown = false;   // neighbouring unknown bytes become one token
};

// Merges by the rule of Sennrich et al. 2016: of all neighbours that may merge, those of the lowest
// rank, leftmost first. Queue and linked list as in SentencePiece: a word of n bytes takes at most
// 3n queue entries and n log n time.
class Bpe {
 public:
  // Ids in merges must exist; of a repeated pair the last merge counts.
  explicit Bpe(BpeVocabulary vocabulary);
  Bpe(const Bpe&) = delete;  // by_bytes_ points into tokens_
  Bpe(Bpe&&) = default;

  // Appends the ids of `word` (under 2^31 bytes) and returns the count of queue entries that were
  // looked at. Thread-safe.
  int64_t encode(std::string_view word, std::vector<int32_t>& ids) const;

  // One past the highest id.
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  const std::string& bytes(int32_t id) const { return tokens_[id].bytes; }
  // Whether the id exists as a token of bytes.
  bool is_mergeable(int32_t id) const { return tokens_[id].is_mergeable; }
  // The token of exactly these bytes, or -1.
  int32_t find(std::string_view bytes) const;

 private:
  struct Pair {
    uint64_t key = kEmpty;  // left << 32 | right
    int32_t rank = 0, result = 0;
  };
  struct Symbol;
  struct Candidate;
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  void insert_pair(const BpeVocabulary::Merge& merge);
  const Pair* find_pair(int32_t left, int32_t right) const;
  std::vector<Symbol> symbols_of(std::string_view word) const;
  int64_t merge_all(std::vector<Symbol>& symbols) const;
  void find_shortcuts();

  std::vector<BpeVocabulary::Token> tokens_;
  std::vector<Pair> pairs_;  // open addressing, a power of two, at most half full
  std::unordered_map<std::string_view, int32_t> by_bytes_;
  // Tokens that merging their own bytes gives back: a word that is one of them needs no merging.
  std::vector<bool> is_shortcut_;
  int32_t byte_ids_[256];
  int32_t unknown_id_;
  bool fuses_unknown_;
};

// The merges of a vocabulary whose ids are ranks (tiktoken): every way to split a token into two
// tokens, ranked by the id of the whole. Merging with them gives what repeated search for the
// lowest-ranked pair gives.
std::vector<BpeVocabulary::Merge> merges_of_ranks(const std::vector<BpeVocabulary::Token>& tokens);

}  // namespace quern

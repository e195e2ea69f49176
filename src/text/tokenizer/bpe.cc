// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

#include "base/error.h"

namespace quern {

// A token in the making. Symbols form a list; one that went into its left neighbour is dead.
struct Bpe::Symbol {
  int32_t id;
  int32_t previous, next;  // -1 at the ends
  bool is_dead = false;
};

// A merge that was possible when it was queued: symbol `at` and its right neighbour into `result`.
struct Bpe::Candidate {
  int32_t rank, at, result;
  // Order of the queue: lowest rank first, then leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// Spreads the key over all bits (the finalizer of splitmix64).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

Bpe::Bpe(BpeVocabulary vocabulary)
    : tokens_(std::move(vocabulary.tokens)),
      unknown_id_(vocabulary.unknown_id),
      fuses_unknown_(vocabulary.fuses_unknown) {
  pairs_.resize(std::bit_ceil(vocabulary.merges.size() * 2 + 2));
  for (const BpeVocabulary::Merge& merge : vocabulary.merges) insert_pair(merge);
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  by_bytes_.reserve(tokens_.size());
  for (int32_t id = 0; id < size(); ++id) {
    const std::string& bytes = tokens_[id].bytes;
    if (!tokens_[id].is_mergeable) continue;
    by_bytes_.emplace(bytes, id);
    if (bytes.size() == 1) byte_ids_[static_cast<unsigned char>(bytes[0])] = id;
  }
  if (vocabulary.ignores_merges)
    is_shortcut_.assign(tokens_.size(), true);
  else
    find_shortcuts();
}

void Bpe::insert_pair(const BpeVocabulary::Merge& merge) {
  const uint64_t key = pair_key(merge.left, merge.right);
  size_t at = mix(key) & (pairs_.size() - 1);
  while (pairs_[at].key != kEmpty && pairs_[at].key != key) at = (at + 1) & (pairs_.size() - 1);
  pairs_[at] = {key, merge.rank, merge.result};
}

const Bpe::Pair* Bpe::find_pair(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  for (size_t at = mix(key) & (pairs_.size() - 1); pairs_[at].key != kEmpty;
       at = (at + 1) & (pairs_.size() - 1))
    if (pairs_[at].key == key) return &pairs_[at];
  return nullptr;
}

void Bpe::find_shortcuts() {
  is_shortcut_.assign(tokens_.size(), false);
  for (int32_t id = 0; id < size(); ++id) {
    if (!tokens_[id].is_mergeable || find(tokens_[id].bytes) != id) continue;
    std::vector<Symbol> symbols = symbols_of(tokens_[id].bytes);
    merge_all(symbols);
    is_shortcut_[id] = !symbols.empty() && symbols[0].id == id && symbols[0].next < 0;
  }
}

int32_t Bpe::find(std::string_view bytes) const {
  const auto entry = by_bytes_.find(bytes);
  return entry == by_bytes_.end() ? -1 : entry->second;
}

std::vector<Bpe::Symbol> Bpe::symbols_of(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  bool after_unknown = false;
  for (const char byte : word) {
    int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    const bool is_unknown = id < 0;
    if (is_unknown && (unknown_id_ < 0 || (fuses_unknown_ && after_unknown))) continue;
    if (is_unknown) id = unknown_id_;
    after_unknown = is_unknown;
    const auto at = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

int64_t Bpe::merge_all(std::vector<Symbol>& symbols) const {
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  const auto candidate_at = [&](int32_t at) -> Candidate {
    if (at < 0 || symbols[at].next < 0) return {-1, at, -1};
    const Pair* pair = find_pair(symbols[at].id, symbols[symbols[at].next].id);
    return pair ? Candidate{pair->rank, at, pair->result} : Candidate{-1, at, -1};
  };
  for (int32_t at = 0; at < static_cast<int32_t>(symbols.size()); ++at)
    if (const Candidate c = candidate_at(at); c.rank >= 0) storage.push_back(c);
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(storage));

  int64_t looked_at = 0;
  for (; !queue.empty(); ++looked_at) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.at];
    // The neighbourhood may have changed since; then what merges here now, if anything, has its own
    // entry.
    if (left.is_dead || candidate_at(top.at).result != top.result) continue;
    Symbol& right = symbols[left.next];
    right.is_dead = true;
    left.id = top.result;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.at;
    for (const int32_t at : {left.previous, top.at})
      if (const Candidate c = candidate_at(at); c.rank >= 0) queue.push(c);
  }
  return looked_at;
}

int64_t Bpe::encode(std::string_view word, std::vector<int32_t>& ids) const {
  QUERN_CHECK(word.size() < size_t{1} << 31);
  if (const int32_t whole = find(word); whole >= 0 && is_shortcut_[whole]) {
    ids.push_back(whole);
    return 0;
  }
  std::vector<Symbol> symbols = symbols_of(word);
  const int64_t looked_at = merge_all(symbols);
  for (int32_t at = symbols.empty() ? -1 : 0; at >= 0; at = symbols[at].next)
    ids.push_back(symbols[at].id);
  return looked_at;
}

std::vector<BpeVocabulary::Merge> merges_of_ranks(const std::vector<BpeVocabulary::Token>& tokens) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id)
    if (tokens[id].is_mergeable) ids.emplace(tokens[id].bytes, static_cast<int32_t>(id));
  const auto find = [&](std::string_view bytes) {
    const auto entry = ids.find(bytes);
    return entry == ids.end() ? -1 : entry->second;
  };
  std::vector<BpeVocabulary::Merge> merges;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].is_mergeable) continue;
    const std::string_view bytes = tokens[id].bytes;
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const int32_t left = find(bytes.substr(0, cut));
      const int32_t right = left < 0 ? -1 : find(bytes.substr(cut));
      if (right >= 0)
        merges.push_back({left, right, static_cast<int32_t>(id), static_cast<int32_t>(id)});
    }
  }
  return merges;
}

}  // namespace quern

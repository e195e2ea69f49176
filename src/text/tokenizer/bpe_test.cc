// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <map>

namespace quern {
namespace {

using Ids = std::vector<int32_t>;

// Builds a vocabulary of strings, ids in order of entry.
class VocabularyBuilder {
 public:
  int32_t token(const std::string& bytes) {
    const auto [entry, is_new] =
        ids_.emplace(bytes, static_cast<int32_t>(vocabulary.tokens.size()));
    if (is_new) vocabulary.tokens.push_back({bytes, true});
    return entry->second;
  }
  void merge(const std::string& left, const std::string& right) {
    const auto rank = static_cast<int32_t>(vocabulary.merges.size());
    vocabulary.merges.push_back({token(left), token(right), token(left + right), rank});
  }
  BpeVocabulary vocabulary;

 private:
  std::map<std::string, int32_t> ids_;
};

Ids encode(const Bpe& bpe, std::string_view word) {
  Ids ids;
  bpe.encode(word, ids);
  return ids;
}

std::vector<std::string> encode_names(const Bpe& bpe, std::string_view word) {
  std::vector<std::string> names;
  for (const int32_t id : encode(bpe, word)) names.push_back(bpe.bytes(id));
  return names;
}

TEST(Bpe, LowestRankGoesFirstThenLeftmost) {
  VocabularyBuilder b;
  for (const char* byte : {"a", "b", "c"}) b.token(byte);
  b.merge("b", "c");
  b.merge("a", "b");
  b.merge("a", "a");
  const Bpe bpe(std::move(b.vocabulary));
  EXPECT_EQ(encode_names(bpe, "abc"), (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(encode_names(bpe, "aab"), (std::vector<std::string>{"a", "ab"}));
  EXPECT_EQ(encode_names(bpe, "aaa"), (std::vector<std::string>{"aa", "a"}));
}

TEST(Bpe, AWordThatIsATokenNeedsItsMergesUnlessTheyAreIgnored) {
  VocabularyBuilder b;
  for (const char* byte : {"a", "b", "c"}) b.token(byte);
  b.merge("b", "c");
  b.merge("a", "b");
  b.token("abc");  // no merge leads here
  BpeVocabulary ignoring = b.vocabulary;
  ignoring.ignores_merges = true;
  EXPECT_EQ(encode_names(Bpe(std::move(b.vocabulary)), "abc"),
            (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(encode_names(Bpe(std::move(ignoring)), "abc"), (std::vector<std::string>{"abc"}));
}

TEST(Bpe, UnknownBytesAreDroppedOrNamedOrFused) {
  VocabularyBuilder b;
  b.token("a");
  b.token("?");
  EXPECT_EQ(encode(Bpe(b.vocabulary), "xaxx"), (Ids{0}));
  b.vocabulary.unknown_id = 1;
  EXPECT_EQ(encode(Bpe(b.vocabulary), "xaxx"), (Ids{1, 0, 1, 1}));
  b.vocabulary.fuses_unknown = true;
  EXPECT_EQ(encode(Bpe(b.vocabulary), "xaxx"), (Ids{1, 0, 1}));
}

TEST(Bpe, LastOfRepeatedMergesCounts) {
  VocabularyBuilder b;
  for (const char* byte : {"a", "b", "c"}) b.token(byte);
  b.merge("a", "b");
  b.merge("b", "c");
  b.merge("a", "b");
  EXPECT_EQ(encode_names(Bpe(std::move(b.vocabulary)), "abc"),
            (std::vector<std::string>{"a", "bc"}));
}

// What a byte-pair encoder by definition does: search everything for the best neighbours, merge,
// repeat.
Ids encode_by_rescanning(const BpeVocabulary& vocabulary, const Ids& bytes) {
  std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>>
      merges;  // pair -> rank, result
  for (const auto& m : vocabulary.merges) merges[{m.left, m.right}] = {m.rank, m.result};
  Ids ids = bytes;
  while (true) {
    size_t best = ids.size();
    std::pair<int32_t, int32_t> found{INT32_MAX, -1};
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      if (const auto m = merges.find({ids[i], ids[i + 1]});
          m != merges.end() && m->second.first < found.first)
        best = i, found = m->second;
    if (best == ids.size()) return ids;
    ids[best] = found.second;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

TEST(Bpe, QueueGivesWhatRescanningGives) {
  uint64_t state = 1;
  const auto random = [&](uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
  };
  for (int round = 0; round < 200; ++round) {
    VocabularyBuilder b;
    for (const char* byte : {"a", "b", "c"}) b.token(byte);
    for (int i = 0; i < 12; ++i) {
      const auto& tokens = b.vocabulary.tokens;
      const std::string left = tokens[random(tokens.size())].bytes,
                        right = tokens[random(tokens.size())].bytes;
      if (left.size() + right.size() <= 8) b.merge(left, right);
    }
    std::string word;
    Ids bytes;
    for (int i = 0; i < 40; ++i)
      bytes.push_back(static_cast<int32_t>(random(3))), word += "abc"[bytes.back()];
    const Ids expected = encode_by_rescanning(b.vocabulary, bytes);
    EXPECT_EQ(encode(Bpe(std::move(b.vocabulary)), word), expected) << "round " << round;
  }
}

TEST(Bpe, RanksGiveTheMergesOfTiktoken) {
  std::vector<BpeVocabulary::Token> tokens;
  for (const char* bytes : {"a", "b", "c", "bc", "ab", "abc"}) tokens.push_back({bytes, true});
  BpeVocabulary vocabulary{.tokens = tokens, .merges = merges_of_ranks(tokens)};
  EXPECT_EQ(vocabulary.merges.size(), 4u);  // b+c, a+b, a+bc, ab+c
  EXPECT_EQ(encode_names(Bpe(std::move(vocabulary)), "abcab"),
            (std::vector<std::string>{"abc", "ab"}));
}

TEST(Bpe, AMegabyteWordTakesWorkInProportionToItsLength) {
  VocabularyBuilder b;
  for (const char* byte : {"a", "b"}) b.token(byte);
  std::string power = "a";
  for (; power.size() < 64; power += power) b.merge(power, power);
  b.merge("a", "b");
  const Bpe bpe(std::move(b.vocabulary));
  constexpr size_t kBytes = 1 << 20;
  std::string same(kBytes, 'a'), mixed;
  for (size_t i = 0; mixed.size() < kBytes; ++i) mixed += i * i % 7 < 3 ? "ab" : "aaa";
  for (const std::string& word : {same, mixed}) {
    Ids ids;
    EXPECT_LE(bpe.encode(word, ids), static_cast<int64_t>(3 * word.size()));
    std::string joined;
    for (const int32_t id : ids) joined += bpe.bytes(id);
    EXPECT_EQ(joined, word);
  }
}

}  // namespace
}  // namespace quern

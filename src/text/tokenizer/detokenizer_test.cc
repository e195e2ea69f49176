// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include "text/tokenizer/byte_alphabet.h"
#include "text/tokenizer/gguf_vocabulary.h"

namespace quern {
namespace {

// Ids 0..255 are the bytes, 256 is special.
Tokenizer bytes_and_end() {
  GgufVocabulary v;
  v.model = "gpt2";
  for (int b = 0; b < 256; ++b)
    v.tokens.push_back(alphabet_of_bytes(std::string(1, static_cast<char>(b))));
  v.tokens.push_back("<end>");
  v.token_types.assign(256, 1);
  v.token_types.push_back(3);
  return Tokenizer::from_gguf_vocabulary(v);
}

TEST(Detokenizer, HoldsBackUntilACharacterIsWhole) {
  const Tokenizer tokenizer = bytes_and_end();
  Detokenizer stream(tokenizer);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xE4), "");
  EXPECT_EQ(stream.push(0xB8), "");
  EXPECT_EQ(stream.push(0x96), "世");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Detokenizer, BrokenBytesBecomeReplacements) {
  const Tokenizer tokenizer = bytes_and_end();
  Detokenizer stream(tokenizer);
  EXPECT_EQ(stream.push(0xE4), "");
  EXPECT_EQ(stream.push('a'), "\uFFFDa");
  EXPECT_EQ(stream.push(0xFF), "\uFFFD");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.push('b'), "b");  // a new stream
}

TEST(Detokenizer, SpecialTokensAndUnknownIds) {
  const Tokenizer tokenizer = bytes_and_end();
  Detokenizer skipping(tokenizer), showing(tokenizer, false);
  EXPECT_EQ(skipping.push(256), "");
  EXPECT_EQ(showing.push(256), "<end>");
  for (const int32_t id : {-1, 257, INT32_MAX}) EXPECT_EQ(skipping.push(id), "");
}

}  // namespace
}  // namespace quern

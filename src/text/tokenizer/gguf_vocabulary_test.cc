// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

using Ids = std::vector<int32_t>;

GgufVocabulary small() {
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = "smollm";
  v.tokens = {"<|end|>", "a", "b", "Ġ", "1", "ab", "Ġab", "11", "[PAD8]", "<tool>", "<s>"};
  v.token_types = {3, 1, 1, 1, 1, 1, 1, 1, 5, 4, 3};
  v.merges = {"a b", "Ġ ab", "1 1"};
  v.bos = 10;
  v.eos = 0;
  return v;
}

ErrorCode code_of(const GgufVocabulary& vocabulary) {
  try {
    Tokenizer::from_gguf_vocabulary(vocabulary);
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::internal;
}

TEST(GgufVocabulary, TokensByTheirTypes) {
  const Tokenizer t = Tokenizer::from_gguf_vocabulary(small());
  EXPECT_EQ(t.vocab_size(), 11);
  EXPECT_EQ(t.encode("ab ab<|end|>11<tool>"), (Ids{5, 6, 0, 4, 4, 9}));
  EXPECT_EQ(t.special_ids(), (Ids{0, 10}));
  EXPECT_EQ(t.encode("<tool>", {.parse_special = false}), (Ids{9}));  // not special: always found
  EXPECT_EQ(t.decode(Ids{6, 0, 5}, {.skip_special = true}), " abab");
  EXPECT_EQ(t.bos_id(), 10);
  EXPECT_EQ(t.eos_id(), 0);
  EXPECT_EQ(t.pad_id(), std::nullopt);
}

TEST(GgufVocabulary, WhatGoesAroundComesFromTheFlagsElseFromTheFamily) {
  GgufVocabulary v = small();
  EXPECT_EQ(Tokenizer::from_gguf_vocabulary(v).encode("a"), (Ids{1}));
  v.add_bos = v.add_eos = true;
  EXPECT_EQ(Tokenizer::from_gguf_vocabulary(v).encode("a"), (Ids{10, 1, 0}));
  v.add_bos = v.add_eos = std::nullopt;
  v.pre = "llama-bpe";
  EXPECT_EQ(Tokenizer::from_gguf_vocabulary(v).encode("a"), (Ids{10, 1}));
}

TEST(GgufVocabulary, PreTokenizersDiffer) {
  GgufVocabulary v = small();
  const auto elevens = [&](const char* pre) {
    v.pre = pre;
    return Tokenizer::from_gguf_vocabulary(v).encode("11", {.add_special_tokens = false});
  };
  EXPECT_EQ(elevens("smollm"), (Ids{4, 4}));
  EXPECT_EQ(elevens("qwen2"), (Ids{4, 4}));
  for (const char* pre : {"", "default", "gpt-2"}) EXPECT_EQ(elevens(pre), (Ids{7})) << pre;
  for (const char* pre :
       {"llama-bpe", "llama3", "glm4", "chatglm-bpe", "deepseek-v3", "hunyuan-dense", "kimi-k2"})
    EXPECT_EQ(elevens(pre), (Ids{7})) << pre;
  for (const char* pre : {"deepseek-llm", "deepseek-coder", "hunyuan", "deepseek-r1-qwen"})
    EXPECT_EQ(elevens(pre), (Ids{4, 4})) << pre;
}

TEST(GgufVocabulary, DamageIsAnError) {
  const auto with = [](auto change) {
    GgufVocabulary v = small();
    change(v);
    return code_of(v);
  };
  EXPECT_EQ(with([](auto& v) { v.model = "llama"; }), ErrorCode::unsupported);
  EXPECT_EQ(with([](auto& v) { v.pre = "no-such"; }), ErrorCode::unsupported);
  EXPECT_EQ(with([](auto& v) { v.tokens.clear(); }), ErrorCode::data_loss);
  EXPECT_EQ(with([](auto& v) { v.token_types.pop_back(); }), ErrorCode::data_loss);
  EXPECT_EQ(with([](auto& v) { v.tokens[2] = v.tokens[1]; }), ErrorCode::data_loss);
  EXPECT_EQ(with([](auto& v) { v.merges[0] = "ab"; }), ErrorCode::data_loss);
  EXPECT_EQ(with([](auto& v) { v.merges[0] = "a zz"; }), ErrorCode::data_loss);
  EXPECT_EQ(with([](auto& v) { v.eos = 11; }), ErrorCode::data_loss);
  EXPECT_EQ(with([](auto& v) { v.bos = -2; }), ErrorCode::data_loss);
}

}  // namespace
}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer/long_runs.h"

namespace quern {
namespace {

using Ids = std::vector<int32_t>;

// A tokenizer of the letters a, b, space and "_", without merges, and one added token "<x>" (id 4)
// with `flags`.
Tokenizer with_added(const char* flags, const char* normalizer = "null") {
  return Tokenizer::from_json(
      std::string(
          R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "_": 3}, "merges": []},
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "decoder": {"type": "ByteLevel"},
      "normalizer": )") +
      normalizer + R"(, "added_tokens": [{"id": 4, "content": "<x>")" + flags + "}]}");
}

TEST(AddedTokens, FlagsDecideWhatAMatchTakes) {
  EXPECT_EQ(with_added("").encode("a <x> b"), (Ids{0, 2, 4, 2, 1}));
  EXPECT_EQ(with_added(R"(, "lstrip": true)").encode("a  <x> b"), (Ids{0, 4, 2, 1}));
  EXPECT_EQ(with_added(R"(, "rstrip": true)").encode("a <x>  b"), (Ids{0, 2, 4, 1}));
  EXPECT_EQ(with_added(R"(, "single_word": true)").encode("<x>").size(), 1u);
  EXPECT_EQ(with_added(R"(, "single_word": true)").encode("a<x>"),
            (Ids{0}));  // its characters are unknown here
}

TEST(AddedTokens, SpecialOnesCanBePlainText) {
  const EncodeOptions plain{.parse_special = false};
  EXPECT_EQ(with_added(R"(, "special": true)").encode("a<x>", plain), (Ids{0}));
  EXPECT_EQ(with_added("").encode("a<x>", plain), (Ids{0, 4}));
}

TEST(AddedTokens, NormalizedOnesAreSoughtInNormalizedText) {
  const char* lower = R"({"type": "Lowercase"})";
  EXPECT_EQ(with_added(R"(, "normalized": true)", lower).encode("A<X>"), (Ids{0, 4}));
  EXPECT_EQ(with_added(R"(, "normalized": false)", lower).encode("A<X>"), (Ids{0}));
}

Ids pair(const char* post_processor, const char* config = "") {
  return Tokenizer::from_json(
             std::string(
                 R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<s>": 2, "</s>": 3},
      "merges": []}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
      "decoder": {"type": "ByteLevel"}, "normalizer": null, "added_tokens": [
      {"id": 2, "content": "<s>", "special": true}, {"id": 3, "content": "</s>", "special": true}],
      "post_processor": )") +
                 post_processor + "}",
             config)
      .encode_pair("ab", "b");
}

TEST(Pairs, AreJoinedAsTheFilesSay) {
  EXPECT_EQ(pair("null"), (Ids{0, 1, 1}));
  EXPECT_EQ(pair(R"({"type": "ByteLevel"})"), (Ids{0, 1, 1}));
  const std::string single = R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}, "pair": [)";
  const std::string s = R"({"SpecialToken": {"id": "<s>", "type_id": 0}}, )",
                    a = R"({"Sequence": {"id": "A", "type_id": 0}})",
                    b = R"({"Sequence": {"id": "B", "type_id": 1}})";
  EXPECT_EQ(pair((single + s + a + ", " + s + b + "]}").c_str()), (Ids{2, 0, 1, 2, 1}));
  EXPECT_EQ(pair((single + a + ", " + b + "]}").c_str()), (Ids{0, 1, 1}));
  EXPECT_THROW(pair((single + b + ", " + a + "]}").c_str()), Error);
  EXPECT_EQ(pair("null",
                 R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true,
                     "add_eos_token": true})"),
            (Ids{2, 0, 1, 3, 2, 1, 3}));
}

TEST(Tokenizer, NamesAndBytesOfIds) {
  const Tokenizer t = with_added(R"(, "special": true)");
  EXPECT_EQ(t.vocab_size(), 5);
  EXPECT_EQ(t.id_to_token(2), "Ġ");
  EXPECT_EQ(t.token_bytes(2), " ");
  EXPECT_EQ(t.id_to_token(4), "<x>");
  EXPECT_EQ(t.token_to_id("Ġ"), 2);
  EXPECT_EQ(t.token_to_id("<x>"), 4);
  EXPECT_EQ(t.token_to_id("nothing"), std::nullopt);
  for (const int32_t id : {-1, 5}) EXPECT_EQ(t.id_to_token(id), std::nullopt);
  EXPECT_TRUE(t.is_special(4));
  EXPECT_FALSE(t.is_special(0));
  EXPECT_EQ(t.decode(Ids{0, 4, -1, 99, 1}, {.skip_special = true}), "ab");
}

TEST(Tokenizer, TextThatIsNotUtf8IsAnError) {
  const Tokenizer t = with_added("");
  try {
    t.encode("ab\xFF");
    FAIL() << "did not throw";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(e.message().find("byte 2"), std::string::npos) << e.message();
  }
}

TEST(Tokenizer, AFolderWithoutOneIsNotFound) {
  try {
    Tokenizer::from_folder(QUERN_SOURCE_DIR "/src/text");
    FAIL() << "did not throw";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
  }
}

TEST(Tokenizer, AMegabyteWordIsEncodedAndGivenBack) {
  const std::string folder = QUERN_SOURCE_DIR "/tests/golden/tokenizer_qwen2";
  std::string word;
  while (word.size() < size_t{1} << 20) word += "internationalization";
  const Tokenizer t = Tokenizer::from_folder(folder);
  EXPECT_EQ(t.decode(t.encode(word)), word);
}

ErrorCode tiktoken_error(std::string_view ranks) {
  try {
    Tokenizer::from_tiktoken(ranks, "");
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::internal;
}

TEST(Tiktoken, ReservedIdsFollowTheRanks) {
  const std::string ranks =
      read_file(QUERN_SOURCE_DIR "/tests/golden/tokenizer_kimi/tiktoken.model");
  const Tokenizer t = Tokenizer::from_tiktoken(ranks, R"({"eos_token": "<end>",
      "added_tokens_decoder": {"1701": {"content": "<end>", "special": true}, "9": {"content": "ignored"}}})");
  EXPECT_EQ(t.vocab_size(), 1700 + 256);
  EXPECT_EQ(t.eos_id(), 1701);
  EXPECT_EQ(t.encode("<end>"), (Ids{1701}));
  EXPECT_EQ(t.encode("<|reserved_token_1700|>"), (Ids{1700}));
  EXPECT_EQ(t.decode(t.encode("<end>", {.parse_special = false}), {.skip_special = true}), "<end>");
}

TEST(Tiktoken, GlmNamesItsSpecialTokensAndTheirIds) {
  const Tokenizer t = Tokenizer::from_folder(QUERN_SOURCE_DIR
                                             "/tests/golden/glm_tts_llm/vq32k-phoneme-tokenizer");
  EXPECT_EQ(t.vocab_size(), 772);
  EXPECT_EQ(t.token_to_id("<|begin_of_audio|>"), 494);
  EXPECT_EQ(t.encode("hello there. <|user|>"), (Ids{271, 108, 338, 285, 263, 46, 32, 487}));
  EXPECT_EQ(t.id_to_token(496), std::nullopt);  // no token has this id
  const std::string ranks =
      read_file(QUERN_SOURCE_DIR "/tests/golden/tokenizer_kimi/tiktoken.model");
  try {
    Tokenizer::from_tiktoken(ranks, R"({"tokenizer_class": "ChatGLM4Tokenizer",
        "added_tokens_decoder": {"9": {"content": "<in the way>"}}})");
    FAIL() << "did not throw";
  } catch (const Error& e) {
    EXPECT_NE(e.message().find("<in the way>"), std::string::npos) << e.message();
  }
}

TEST(Tiktoken, LongRunsAreCutAsTheReferenceCutsThem) {
  const auto sizes = [](const std::string& text) {
    std::vector<size_t> out;
    for (const std::string_view part : cut_long_runs(text)) out.push_back(part.size());
    return out;
  };
  using Sizes = std::vector<size_t>;
  EXPECT_EQ(sizes(""), Sizes{});
  EXPECT_EQ(sizes(std::string(25000, 'a')), Sizes{25000});
  EXPECT_EQ(sizes(std::string(60000, 'a')), (Sizes{25000, 25000, 10000}));
  EXPECT_EQ(sizes(std::string(20000, 'a') + std::string(25001, ' ')), (Sizes{45000, 1}));
  std::string words;
  while (words.size() < 400006) words += "ab ";
  EXPECT_EQ(sizes(words), (Sizes{400000, words.size() - 400000}));
}

TEST(Tiktoken, DamageIsAnError) {
  const std::string ranks =
      read_file(QUERN_SOURCE_DIR "/tests/golden/tokenizer_kimi/tiktoken.model");
  EXPECT_EQ(tiktoken_error(ranks), ErrorCode::internal);  // loads
  EXPECT_EQ(tiktoken_error(""), ErrorCode::data_loss);
  EXPECT_EQ(tiktoken_error(ranks.substr(9)), ErrorCode::data_loss);        // rank 0 is missing
  EXPECT_EQ(tiktoken_error(ranks + "AA== 1700\n"), ErrorCode::data_loss);  // the byte 0 again
  EXPECT_EQ(tiktoken_error(ranks + "QUFBQUFB 999999999\n"), ErrorCode::data_loss);
  EXPECT_EQ(tiktoken_error(ranks + "QUFBQUFB\n"), ErrorCode::data_loss);
  EXPECT_EQ(tiktoken_error(ranks + "Q*== 1700\n"), ErrorCode::data_loss);
  EXPECT_EQ(tiktoken_error(ranks + "QUFBQUFB 1700 x\n"), ErrorCode::data_loss);
}

}  // namespace
}  // namespace quern

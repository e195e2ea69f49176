// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

const std::string kSeed = QUERN_SOURCE_DIR "/tests/fuzz/tokenizer_json/nfc_split.json";

Json seed() {
  return parse_json(read_file(kSeed), "seed");
}

// The message of the Error that loading `json` throws, "" if it loads.
std::string error_of(const std::string& json, ErrorCode code) {
  try {
    Tokenizer::from_json(json);
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
}

// The seed with the value at `pointer` replaced.
std::string damaged(const char* pointer, Json value) {
  Json json = seed();
  json[Json::json_pointer(pointer)] = std::move(value);
  return json.dump();
}

struct Damage {
  const char* pointer;
  const char* value;
  ErrorCode code;
  const char* says;
};

TEST(TokenizerJson, EachDamageIsNamed) {
  const Damage damages[] = {
      {"/model", "null", ErrorCode::data_loss, "'model'"},
      {"/model/type", "\"Unigram\"", ErrorCode::unsupported, "Unigram"},
      {"/model/vocab", "[1]", ErrorCode::data_loss, "'vocab'"},
      {"/model/vocab/he", "-1", ErrorCode::data_loss, "id"},
      {"/model/vocab/he", "1e9", ErrorCode::data_loss, "id"},
      {"/model/vocab/he", "99999999999", ErrorCode::data_loss, "id"},
      {"/model/vocab/he", "0", ErrorCode::data_loss, "taken"},
      {"/model/merges/0", "[\"h\"]", ErrorCode::data_loss, "merge 0"},
      {"/model/merges/0", "[\"h\",\"zz\"]", ErrorCode::data_loss, "zz"},
      {"/model/merges", "{}", ErrorCode::data_loss, "merges"},
      {"/model/dropout", "0.1", ErrorCode::unsupported, "dropout"},
      {"/model/byte_fallback", "true", ErrorCode::unsupported, "byte_fallback"},
      {"/model/end_of_word_suffix", "\"</w>\"", ErrorCode::unsupported, "end_of_word_suffix"},
      {"/normalizer/type", "\"Precompiled\"", ErrorCode::unsupported, "Precompiled"},
      {"/pre_tokenizer", "null", ErrorCode::unsupported, "ByteLevel"},
      {"/pre_tokenizer/pretokenizers/0/pattern", "{}", ErrorCode::data_loss, "pattern"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(a\"", ErrorCode::invalid_argument, "(a"},
      {"/pre_tokenizer/pretokenizers/0/behavior",
       "\"Sideways\"",
       ErrorCode::unsupported,
       "Sideways"},
      {"/decoder", "null", ErrorCode::unsupported, "decoder"},
      {"/added_tokens/0/content", "7", ErrorCode::data_loss, "content"},
      {"/added_tokens/0/special", "1", ErrorCode::data_loss, "special"},
      {"/added_tokens/0/id", "-7", ErrorCode::data_loss, "id"},
  };
  EXPECT_EQ(error_of(seed().dump(), ErrorCode::internal), "");
  for (const Damage& d : damages) {
    const std::string message = error_of(damaged(d.pointer, parse_json(d.value, "value")), d.code);
    EXPECT_NE(message.find(d.says), std::string::npos)
        << d.pointer << " = " << d.value << " gave: " << message;
  }
}

TEST(TokenizerJson, ATruncatedFileIsAnError) {
  const std::string whole = read_file(kSeed);
  for (size_t size = 0; size + 2 < whole.size(); size += 13)
    EXPECT_NE(error_of(whole.substr(0, size), ErrorCode::invalid_argument), "") << size;
}

TEST(TokenizerJson, DeepNestingIsAnError) {
  std::string deep = R"({"type":"NFC"})";
  for (int i = 0; i < 40; ++i) deep = R"({"type":"Sequence","normalizers":[)" + deep + "]}";
  Json json = seed();
  json["normalizer"] = "HERE";
  std::string text = json.dump();
  text.replace(text.find("\"HERE\""), 6, deep);
  EXPECT_NE(error_of(text, ErrorCode::invalid_argument), "");
}

TEST(TokenizerJson, OldFilesWriteMergesAsStrings) {
  Json json = seed();
  for (Json& merge : json["model"]["merges"])
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  json["model"]["merges"].insert(json["model"]["merges"].begin(), "#version: 0.2");
  EXPECT_EQ(Tokenizer::from_json(json.dump()).encode(" hello"),
            Tokenizer::from_json(seed().dump()).encode(" hello"));
}

TEST(TokenizerConfig, NamesTokensAndWhatGoesAround) {
  const std::string json = read_file(kSeed);
  const std::string config =
      R"({"bos_token": "<|end|>", "eos_token": {"content": "<s>"}, "add_bos_token": true,
      "added_tokens_decoder": {"31": {"content": "<s>", "special": true}}})";
  const Tokenizer tokenizer = Tokenizer::from_json(json, config);
  EXPECT_EQ(tokenizer.bos_id(), 30);
  EXPECT_EQ(tokenizer.eos_id(), 31);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer.special_ids(), (std::vector<int32_t>{30, 31}));
  EXPECT_EQ(tokenizer.encode("h<s>"), (std::vector<int32_t>{30, 8, 31}));
  EXPECT_THROW(Tokenizer::from_json(json, R"({"added_tokens_decoder": {"x": {"content": "y"}}})"),
               Error);
}

}  // namespace
}  // namespace quern

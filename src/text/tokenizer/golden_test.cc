// SPDX-License-Identifier: Apache-2.0
// Every reference case of a tokenizer, and every tokenizer beside a reference checkpoint. Cases are
// told by their expected.json, so that a folder put beside them is run too.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

using Ids = std::vector<int32_t>;

const std::string kGolden = QUERN_SOURCE_DIR "/tests/golden";

// Folders under tests/golden in which `accepts` finds a case, ascending.
template <typename Accepts>
std::vector<std::string> golden_folders(Accepts accepts) {
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden))
    if (entry.is_directory() && accepts(entry.path().string()))
      folders.push_back(entry.path().string());
  std::sort(folders.begin(), folders.end());
  return folders;
}

bool is_tokenizer_case(const std::string& folder) {
  const std::string path = folder + "/expected.json";
  return file_exists(path) && read_json_file(path).value("kind", "") == "tokenizer";
}

// One row of cases.jsonl against a tokenizer. `checked` counts the fields compared.
class Row {
 public:
  Row(const Tokenizer& tokenizer, const Json& row) : tokenizer_(tokenizer), row_(row) {}

  int check() {
    for (const auto& [field, value] : row_.items()) {
      SCOPED_TRACE("field " + field);
      check_field(field, value);
    }
    if (!row_.contains("ids_only") && !row_.contains("decoded"))
      expect_decoded(row_["text"], ids(), false);
    return checked_;
  }

 private:
  Ids ids() const {
    return (row_.contains("ids_only") ? row_["ids_only"] : row_["ids"]).get<Ids>();
  }

  void check_field(const std::string& field, const Json& value) {
    if (field == "ids") return expect_ids(value, {.add_special_tokens = false});
    if (field == "ids_with_special") return expect_ids(value, {});
    if (field == "ids_plain")
      return expect_ids(value, {.add_special_tokens = false, .parse_special = false});
    if (field == "decoded") return expect_decoded(value, ids(), false);
    if (field == "decoded_skip_special") return expect_decoded(value, ids(), true);
    if (field == "stream") return expect_stream(value);
    EXPECT_TRUE(field == "text" || field == "ids_only") << "unknown field";
  }

  void expect_ids(const Json& expected, const EncodeOptions& options) {
    EXPECT_EQ(tokenizer_.encode(row_["text"].get<std::string>(), options), expected.get<Ids>());
    ++checked_;
  }

  void expect_decoded(const Json& expected, const Ids& ids, bool skip_special) {
    EXPECT_EQ(tokenizer_.decode(ids, {.skip_special = skip_special}), expected.get<std::string>());
    EXPECT_EQ(streamed(ids, skip_special), expected.get<std::string>());
    ++checked_;
  }

  // The reference's pieces may be cut elsewhere; what they join to must come out too.
  void expect_stream(const Json& pieces) {
    std::string joined;
    for (const Json& piece : pieces)
      if (piece.is_string()) joined += piece.get<std::string>();
    EXPECT_EQ(streamed(ids(), false), joined);
    ++checked_;
  }

  std::string streamed(const Ids& ids, bool skip_special) {
    Detokenizer stream(tokenizer_, skip_special);
    std::string joined;
    const auto append = [&](const std::string& piece) {
      EXPECT_EQ(utf8_valid_prefix(piece), piece.size()) << "half a character";
      joined += piece;
    };
    for (const int32_t id : ids) append(stream.push(id));
    append(stream.finish());
    return joined;
  }

  const Tokenizer& tokenizer_;
  const Json& row_;
  int checked_ = 0;
};

TEST(TokenizerGolden, CasesAgreeInEveryField) {
  const auto folders = golden_folders(is_tokenizer_case);
  ASSERT_GE(folders.size(), 8u);
  for (const std::string& folder : folders) {
    SCOPED_TRACE(folder);
    const Tokenizer tokenizer = Tokenizer::from_folder(folder);
    EXPECT_EQ(tokenizer.vocab_size(),
              read_json_file(folder + "/expected.json")["vocab"].get<int32_t>());
    std::istringstream lines(read_file(folder + "/cases.jsonl"));
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
      SCOPED_TRACE("line " + std::to_string(number));
      const Json row = parse_json(line, "cases.jsonl");
      EXPECT_GT(Row(tokenizer, row).check(), 0);
    }
  }
}

TEST(TokenizerGolden, TokenizersBesideCheckpointsLoad) {
  const auto folders = golden_folders([](const std::string& folder) {
    return file_exists(folder + "/tokenizer.json") || file_exists(folder + "/tiktoken.model");
  });
  ASSERT_GE(folders.size(), 20u);
  for (const std::string& folder : folders) {
    SCOPED_TRACE(folder);
    const Tokenizer tokenizer = Tokenizer::from_folder(folder);
    const std::string text = "Hello, 世界! 12345  it's\n\nna\xC3\xAFve 👩‍👩‍👧";
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, {.add_special_tokens = false})), text);
  }
}

}  // namespace
}  // namespace quern

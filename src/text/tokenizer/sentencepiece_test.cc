// SPDX-License-Identifier: Apache-2.0
// Against the SentencePiece library of PyPI (tests/data/sentencepiece), and what stands around it.
#include "text/tokenizer/sentencepiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

const std::string kData = std::string(QUERN_SOURCE_DIR) + "/tests/data/sentencepiece/";
constexpr int32_t kRetId = 4, kEndId = 5, kThinkId = 10, kThinkEndId = 11;
constexpr EncodeOptions kPlain = {.add_special_tokens = false, .parse_special = false};

std::string model(const std::string& name) {
  return read_file(kData + name + ".model");
}

Tokenizer spark(const std::string& config = "") {
  return Tokenizer::from_sentencepiece(model("spark_bpe"), config, SentencePieceFamily::spark);
}

Tokenizer plain(const std::string& config = R"({"add_bos_token": false})") {
  return Tokenizer::from_sentencepiece(model("plain"), config);
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special = true) {
  Detokenizer stream(tokenizer, skip_special);
  std::string out;
  for (const int32_t id : ids) out += stream.push(id);
  return out + stream.finish();
}

TEST(SentencePiece, IdsAreThoseOfTheLibrary) {
  const Json cases = read_json_file(kData + "cases.json");
  for (const auto& [name, texts] : cases.items()) {
    const SentencePiece pieces(model(name));
    for (const Json& c : texts) {
      Ids ids;
      pieces.encode(c["text"].get<std::string>(), SentencePiece::Begins::yes, ids);
      EXPECT_EQ(ids, c["ids"].get<Ids>()) << name << ": " << c["text"];
    }
  }
}

// A text that is cut in two gets the model's space in front of the first part alone.
TEST(SentencePiece, OnlyABeginningGetsTheSpaceInFront) {
  const SentencePiece pieces(model("plain"));
  Ids begin, inside;
  pieces.encode("theorem", SentencePiece::Begins::yes, begin);
  pieces.encode("theorem", SentencePiece::Begins::no, inside);
  EXPECT_EQ(pieces.file().pieces[static_cast<size_t>(begin[0])].text, "▁theorem");
  EXPECT_NE(begin, inside);
}

TEST(SentencePiece, SparkWritesLineBreaksAsASymbol) {
  const Tokenizer t = spark();
  const std::string code = "theorem x :\n  a = b := by\n\tsimp\n\n    sorry\n";
  const Ids ids = t.encode(code);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kRetId), 5);
  const std::string expected = "theorem x :\n  a = b := by\n    simp\n\n    sorry\n";
  EXPECT_EQ(t.decode(ids), expected);
  EXPECT_EQ(streamed(t, ids), expected);
  EXPECT_EQ(t.token_bytes(kRetId), "\n");
  EXPECT_EQ(t.id_to_token(kRetId), "<ret>");
  EXPECT_FALSE(t.is_special(kRetId));
}

TEST(SentencePiece, BytesAndUnknownCharactersComeBack) {
  for (const char* name : {"spark_bpe", "spark_unigram"}) {
    const Tokenizer t = Tokenizer::from_sentencepiece(model(name), "", SentencePieceFamily::spark);
    const std::string text = "  zebra 😀é 世界\n ∀ x";
    EXPECT_EQ(t.decode(t.encode(text)), text) << name;
    EXPECT_EQ(streamed(t, t.encode(text)), text) << name;
  }
}

TEST(SentencePiece, TurnsEndWithEndWhateverIsNamed) {
  const Tokenizer t = spark(R"({"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"})");
  EXPECT_EQ(t.eos_id(), kEndId);
  EXPECT_EQ(t.bos_id(), 1);
  EXPECT_EQ(t.pad_id(), 0);
  EXPECT_EQ(spark().eos_id(), kEndId);
  for (const char* token : {"<end>", "<User>", "<unused6>", "<s>", "<unk>"})
    EXPECT_TRUE(t.is_special(t.token_to_id(token).value())) << token;
}

TEST(SentencePiece, SpecialTokensInTheTextAreParsedIfAsked) {
  const Tokenizer t = spark();
  const Ids parsed = t.encode("<User> x<end><Bot> <unused6>y<unused7>");
  EXPECT_EQ(parsed.front(), t.token_to_id("<User>"));
  EXPECT_EQ(std::count(parsed.begin(), parsed.end(), kEndId), 1);
  EXPECT_EQ(std::count(parsed.begin(), parsed.end(), kThinkId), 1);
  EXPECT_EQ(parsed.back(), kThinkEndId);
  const Ids text = t.encode("<end> <s><unused7>", kPlain);
  for (const int32_t id : text) EXPECT_FALSE(t.is_special(id)) << id;
  EXPECT_EQ(t.decode(text), "<end> <s><unused7>");
  // What the library does not find is not taken apart, and no stretch gets a space of its own.
  const Tokenizer other = plain();
  EXPECT_EQ(other.decode(other.encode("let <s>x", kPlain)), " let <s>x");
}

// No list of special tokens may hide it.
TEST(SentencePiece, ALineBreakStaysVisible) {
  const Tokenizer t = spark(R"({"additional_special_tokens": ["<ret>", "<end>"],
                               "added_tokens_decoder": {"4": {"content": "<ret>", "special": true}}})");
  const Ids ids = t.encode("a\nb");
  EXPECT_EQ(t.decode(ids, {.skip_special = true}), "a\nb");
  EXPECT_EQ(streamed(t, ids), "a\nb");
}

// Where the mark is spelled by several tokens, they are held back together.
TEST(SentencePiece, AMarkInPiecesIsHeldBack) {
  const Tokenizer t = spark();
  Ids ids;
  for (const char c : std::string("x<ret>y<rex<ret"))
    ids.push_back(
        t.token_to_id(std::string(1, c)).value_or(t.token_to_id(format("<0x{:02X}>", c)).value()));
  EXPECT_EQ(t.decode(ids), "x\ny<rex<ret");
  Detokenizer stream(t);
  std::string out;
  for (const int32_t id : ids) {
    out += stream.push(id);
    EXPECT_EQ(out.find("<ret"), std::string::npos);
  }
  EXPECT_EQ(out, "x\ny<rex");
  EXPECT_EQ(stream.finish(), "<ret");
}

TEST(SentencePiece, SpacesInFrontOfLinesStay) {
  const Tokenizer t = spark();
  Detokenizer stream(t);
  std::string out;
  for (const int32_t id : t.encode("by\n    simp\n  ring")) out += stream.push(id);
  EXPECT_EQ(out, "by\n    simp\n  ring");
}

TEST(SentencePiece, OtherFamiliesSayHowATextBegins) {
  EXPECT_THROW(Tokenizer::from_sentencepiece(model("plain"), "{}"), Error);
  const Tokenizer with = plain(R"({"add_bos_token": true, "bos_token": "<s>"})");
  EXPECT_EQ(with.encode("theorem").front(), 1);
  EXPECT_EQ(with.eos_id(), 2);
  const Tokenizer without = plain();
  EXPECT_NE(without.encode("theorem").front(), 1);
  EXPECT_EQ(without.encode("a\nb"), without.encode("a b"));  // white space is one there
  // Behind a special token the space comes again, unless the file says that it does not.
  const Ids legacy = without.encode("<s>theorem"), newer = plain(R"({"add_bos_token": false,
      "legacy": false})")
                                                               .encode("<s>theorem");
  EXPECT_EQ(without.id_to_token(legacy.at(1)), "▁theorem");
  EXPECT_NE(legacy, newer);
}

TEST(SentencePiece, AFolderWithoutTokenizerJsonIsRead) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / "quern_sentencepiece_folder";
  fs::create_directories(folder);
  std::ofstream(folder / "tokenizer.model", std::ios::binary) << model("spark_unigram");
  std::ofstream(folder / "config.json") << R"({"model_type": "spark"})";
  const Tokenizer t = Tokenizer::from_folder(folder.string());
  EXPECT_EQ(t.decode(t.encode("a\n\tb")), "a\n    b");
  std::ofstream(folder / "config.json") << R"({"model_type": "llama"})";
  EXPECT_THROW(Tokenizer::from_folder(folder.string()), Error);  // add_bos_token is not said
  fs::remove_all(folder);
}

TEST(SentencePiece, DamageIsRefused) {
  const std::string whole = model("plain");
  const auto use = [](const std::string& bytes) {
    try {
      const SentencePiece pieces(bytes);
      Ids ids;
      pieces.encode("ｆｕｌｌ ﬁ theorem e\u0301 \u3000x", SentencePiece::Begins::yes, ids);
    } catch (const Error&) {
    }
  };
  for (size_t length = 0; length < whole.size(); length += 29) use(whole.substr(0, length));
  constexpr char kChanges[] = {'\xFF', '\x80', '\x01'};
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ kChanges[at % std::size(kChanges)]);
    use(damaged);
  }
  // The root of the rules' trie, behind the size of the trie: where it leads is never looked at.
  const std::string size("\x00\x04\x00\x00", 4);
  for (size_t at = whole.find(size); at != std::string::npos; at = whole.find(size, at + 1))
    for (size_t byte = 4; byte < 8; ++byte) {
      std::string damaged = whole;
      damaged[at + byte] = static_cast<char>(damaged[at + byte] ^ '\x80');
      use(damaged);
    }
}

TEST(SentencePiece, MessagesSayWhatIsWrong) {
  const auto message_of = [](const std::string& bytes) {
    try {
      SentencePieceFile::parse(bytes);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  const auto field = [](int number, const std::string& bytes) {
    return std::string(1, static_cast<char>(number << 3 | 2)) +
           std::string(1, static_cast<char>(bytes.size())) + bytes;
  };
  const std::string unknown = field(1, field(1, "<unk>") + "\x18\x02");
  EXPECT_EQ(message_of(unknown), "no error");
  EXPECT_THAT(message_of(""), HasSubstr("0 of 0 pieces stand for unknown text"));
  EXPECT_THAT(message_of("\x0A\x7F"), HasSubstr("is the download complete"));
  EXPECT_THAT(message_of(unknown + unknown), HasSubstr("both '<unk>'"));
  EXPECT_THAT(message_of(field(1, "")), HasSubstr("piece 0: expected text"));
  EXPECT_THAT(message_of(field(1, field(1, "\xFF"))), HasSubstr("piece 0: expected text"));
  EXPECT_THAT(message_of(field(1, field(1, "a") + std::string("\x15\x00\x00\xC0\x7F", 5))),
              HasSubstr("a score that is a number"));
  EXPECT_THAT(message_of(unknown + field(2, "\x18\x03")), HasSubstr("model_type 3"));
  EXPECT_THAT(message_of(unknown + field(3, field(2, "abcdefgh"))),
              HasSubstr("rules of normalization"));
  EXPECT_THAT(message_of("\x0B"), HasSubstr("wire type 3"));
  EXPECT_THAT(message_of(std::string(12, '\xFF')), HasSubstr("more than ten bytes"));
}

}  // namespace
}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "text/tokenizer/byte_alphabet.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

std::string lossy(std::string_view text, bool is_final) {
  std::string out;
  append_lossy_utf8(text, is_final, out);
  return out;
}

TEST(Utf8, ValidPrefixStopsAtTheFirstBadByte) {
  EXPECT_EQ(utf8_valid_prefix("aé世👍"), 10u);
  EXPECT_EQ(utf8_valid_prefix("a\xFF"), 1u);
  EXPECT_EQ(utf8_valid_prefix("a\xED\xA0\x80"), 1u);     // a surrogate
  EXPECT_EQ(utf8_valid_prefix("\xF4\x90\x80\x80"), 0u);  // past U+10FFFF
  EXPECT_EQ(utf8_valid_prefix("ab\xC0\xAF"), 2u);        // overlong
  EXPECT_EQ(utf8_valid_prefix("ab\xE4\xB8"), 2u);        // cut
}

TEST(Utf8, OneReplacementForEachMaximalBadPart) {
  EXPECT_EQ(lossy("a\xF0\x9F\x91z", true), "a\uFFFDz");
  EXPECT_EQ(lossy("\xE4\xB8\xFF", true), "\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xED\xA0\x80", true), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(lossy("a\xF0\x9F", true), "a\uFFFD");
  EXPECT_EQ(lossy("a\xF0\x9F", false), "a");
}

TEST(ByteAlphabet, EveryByteGoesThereAndBack) {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes += static_cast<char>(b);
  const std::string written = alphabet_of_bytes(bytes);
  EXPECT_EQ(utf8_valid_prefix(written), written.size());
  EXPECT_EQ(bytes_of_alphabet(written), bytes);
  EXPECT_EQ(alphabet_of_bytes(" a\n"), "ĠaĊ");
  EXPECT_FALSE(bytes_of_alphabet("a b"));
  EXPECT_FALSE(bytes_of_alphabet("世"));
}

TEST(CharClass, GeneralCategories) {
  EXPECT_EQ(char_class('a'), kLetter | kWord | kLowerLike);
  EXPECT_EQ(char_class(U'世'), kLetter | kWord | kUpperLike | kLowerLike | kHan);
  EXPECT_EQ(char_class(U'Ⅷ'), kNumber | kWord);
  EXPECT_EQ(char_class(U'½'), kNumber);
  EXPECT_EQ(char_class('_'), kPunctuation | kWord);
  EXPECT_EQ(char_class('\n'), kSpace | kNewline);
  EXPECT_EQ(char_class(0x3000), kSpace);
  EXPECT_EQ(char_class(0x200D), kWord);  // a join control
  EXPECT_EQ(char_class(0x0301), kMark | kWord | kUpperLike | kLowerLike);
  EXPECT_EQ(char_class(0x1FAE9), kSymbol);  // new in Unicode 16
  EXPECT_EQ(char_class(0xE000), 0);
}

TEST(NormalForms, ComposeDecomposeAndReorder) {
  EXPECT_EQ(normalize_unicode("e\u0301", NormalForm::nfc), "é");
  EXPECT_EQ(normalize_unicode("é", NormalForm::nfd), "e\u0301");
  EXPECT_EQ(normalize_unicode("a\u0307\u0323", NormalForm::nfc), "ạ\u0307");
  EXPECT_EQ(normalize_unicode("각", NormalForm::nfd), "\u1100\u1161\u11A8");
  EXPECT_EQ(normalize_unicode("\u1100\u1161\u11A8", NormalForm::nfc), "각");
  EXPECT_EQ(normalize_unicode("ﬁ①㎏", NormalForm::nfkc), "fi1kg");
  EXPECT_EQ(normalize_unicode("\u212B", NormalForm::nfc), "Å");
  EXPECT_EQ(normalize_unicode("plain text", NormalForm::nfd), "plain text");
}

TEST(NormalForms, CharactersNewerThanTheReferenceStayAndPart) {
  EXPECT_EQ(normalize_unicode("\u32FF", NormalForm::nfkc), "\u32FF");
  // U+0D3B, a mark of Unicode 10: the marks on its two sides do not change places with it.
  EXPECT_EQ(normalize_unicode("a\u0301\u0D3B\u0323", NormalForm::nfd), "a\u0301\u0D3B\u0323");
}

TEST(NormalForms, LongRunsOfMarksAreSortedInReasonableTime) {
  std::string text = "a", below, above;
  for (int i = 0; i < 100000; ++i) {
    text += "\u0301\u0323";
    below += "\u0323";
    above += "\u0301";
  }
  EXPECT_EQ(normalize_unicode(text, NormalForm::nfd), "a" + below + above);
}

TEST(Lowercase, FullMappings) {
  EXPECT_EQ(lowercase_unicode("ÀÉ ΣΑΣ İ ẞ 10"), "àé σασ i\u0307 ß 10");
  EXPECT_EQ(lowercase_unicode("\U00010D50"), "\U00010D70");
}

}  // namespace
}  // namespace quern

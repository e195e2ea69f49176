// SPDX-License-Identifier: Apache-2.0
// A tokenizer from tokenizer.model: pieces are tokens, control symbols are special. iFlytek's spark
// family has rules of its own around it (docs/models/spark.md).
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/tokenizer_parts.h"

namespace quern {
namespace {

using PieceType = SentencePieceFile::PieceType;

constexpr std::string_view kSpace = "\u2581";
// The spark family writes line breaks as a symbol, and tabs as spaces.
constexpr std::string_view kLineBreak = "<ret>", kTab = "    ", kEnd = "<end>";
constexpr std::string_view kSparkSpecial[] = {
    "<pad>", "<s>", "</s>", "<unk>", "<start>", kEnd, "<System>", "<User>", "<Bot>"};

// <unused0>, <unused1>, …: among them those around thoughts.
bool is_unused_symbol(std::string_view text) {
  constexpr std::string_view kBegin = "<unused";
  if (!text.starts_with(kBegin) || !text.ends_with('>')) return false;
  const std::string_view digits = text.substr(kBegin.size(), text.size() - kBegin.size() - 1);
  return !digits.empty() &&
         std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_special_of_spark(std::string_view text) {
  return std::ranges::find(kSparkSpecial, text) != std::end(kSparkSpecial) ||
         is_unused_symbol(text);
}

// "<0x0A>" -> its byte.
std::string byte_of(const std::string& text) {
  const auto value = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  const bool is_byte = text.size() == 6 && text.starts_with("<0x") && text[5] == '>' &&
                       value(text[3]) >= 0 && value(text[4]) >= 0;
  if (!is_byte)
    fail(ErrorCode::data_loss,
         "the piece '{:.40}' stands for a byte: expected <0x00> to <0xFF>",
         text);
  return std::string(1, static_cast<char>(value(text[3]) * 16 + value(text[4])));
}

std::string with_spaces(std::string text) {
  for (size_t at = text.find(kSpace); at != std::string::npos; at = text.find(kSpace, at))
    text.replace(at, kSpace.size(), " ");
  return text;
}

std::string bytes_of_piece(const SentencePieceFile::Piece& piece) {
  switch (piece.type) {
    case PieceType::byte:
      return byte_of(piece.text);
    case PieceType::normal:
    case PieceType::user_defined:
      return with_spaces(piece.text);
    default:
      return piece.text;
  }
}

void read_pieces(const SentencePieceFile& file, bool is_spark, TokenizerParts& parts) {
  parts.vocabulary.tokens.resize(file.pieces.size());
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const auto& piece = file.pieces[id];
    parts.ids.emplace(piece.text, static_cast<int32_t>(id));
    const bool is_break = is_spark && piece.text == kLineBreak;
    parts.vocabulary.tokens[id].bytes = is_break ? "\n" : bytes_of_piece(piece);
    const bool is_special = piece.type == PieceType::control || piece.type == PieceType::unknown ||
                            (is_spark && is_special_of_spark(piece.text));
    if (!is_special || is_break) continue;
    AddedToken token;
    token.content = piece.text;
    token.is_special = true;
    parts.add_added_token(std::move(token));
  }
}

// "\n" -> "<ret>" and a tab -> four spaces in front of the pieces; "<ret>" -> "\n" behind them. The
// symbol must stay visible, whatever a list of special tokens says.
void follow_spark(TokenizerConfig& config, TokenizerParts& parts) {
  for (const auto& [from, to] : {std::pair{"\n", kLineBreak}, {"\t", kTab}}) {
    NormalizeStep step;
    step.kind = NormalizeStep::Kind::replace_literal;
    step.pattern = from;
    step.content = to;
    parts.normalizer.add(std::move(step));
  }
  parts.line_break = kLineBreak;
  std::erase(config.special_tokens, kLineBreak);
  for (AddedToken& token : config.added)
    if (token.content == kLineBreak) token.is_special = false, token.is_normalized = true;
}

}  // namespace

Tokenizer Tokenizer::from_sentencepiece(std::string_view model,
                                        std::string_view config_json,
                                        SentencePieceFamily family) {
  const bool is_spark = family == SentencePieceFamily::spark;
  TokenizerConfig config = parse_tokenizer_config(config_json);
  if (!is_spark && !config.add_bos)
    fail(ErrorCode::unsupported,
         "tokenizer.model without tokenizer.json: tokenizer_config.json must say whether a text "
         "begins with a special token; write \"add_bos_token\": true (Llama 2) or false");
  TokenizerParts parts;
  parts.pieces = std::make_shared<const SentencePiece>(model);
  const SentencePieceFile& file = parts.pieces->file();
  read_pieces(file, is_spark, parts);
  if (is_spark) follow_spark(config, parts);
  // The reference puts the space in front of each stretch between special tokens, unless told that
  // it should not; the spark family encodes a text as one.
  parts.prefixes_every_stretch = config.legacy.value_or(!is_spark);
  apply_tokenizer_config(config, parts);
  if (!parts.bos) parts.bos = file.bos;
  if (!parts.eos) parts.eos = file.eos;
  if (!parts.pad) parts.pad = file.pad;
  // Turns end with it, whatever the end of a text is called.
  if (is_spark)
    if (const auto end = parts.find(kEnd)) parts.eos = end;
  return Tokenizer(std::move(parts));
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// What the readers of tokenizer.json, tiktoken.model and GGUF metadata hand to Tokenizer: its
// stages, checked and compiled.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/post_processor.h"
#include "text/tokenizer/pre_tokenizer.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/string_map.h"

namespace quern {

// Ids above this are taken for damage: the largest published vocabularies have about 260,000.
inline constexpr int32_t kMaxTokenId = (1 << 22) - 1;
inline constexpr size_t kMaxTokenBytes = 1 << 16;
inline constexpr size_t kMaxMerges = size_t{1} << 23;

struct TokenizerParts {
  BpeVocabulary vocabulary;
  StringMap<int32_t> ids;  // of the vocabulary's tokens, by name
  AddedTokens added;       // ids may lie past the vocabulary
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  std::optional<int32_t> bos, eos, pad;
  // Kimi's rules around tiktoken: long runs are cut first, and parse_special = false turns all
  // added tokens to plain text, not only the special ones.
  bool follows_kimi = false;
  // Where set, text is cut by SentencePiece, whose tokens the vocabulary lists (none of them
  // merges).
  std::shared_ptr<const SentencePiece> pieces;
  bool prefixes_every_stretch = false;  // the space in front of a text: between special tokens too
  std::string line_break;               // text that decoding turns into "\n"; empty: none

  // Enters a token of the vocabulary. `name` is in the printable alphabet of bytes, or stands for
  // itself (then merging cannot make it). Throws data_loss if the id is out of range or taken, or
  // the name is too long.
  void add_token(int32_t id, std::string_view name);
  // Enters an added token: the id is that of its name in the vocabulary, else the one after all
  // added tokens and at least the count of the vocabulary, as in the reference. `token.id` is what
  // the file says and only compared; returns false if it differs (-1 says nothing).
  bool add_added_token(AddedToken token);
  // Appends a merge of two tokens by their names, ranked after those before it. Throws data_loss if
  // one of them or what they make is not in the vocabulary, or there are too many merges.
  void add_merge(std::string_view left, std::string_view right);
  // The id of a token by its name, among added tokens first.
  std::optional<int32_t> find(std::string_view name) const;

 private:
  int32_t added_end_ = 0;  // past the highest id of an added token
};

// tokenizer_config.json, as far as it bears on ids.
struct TokenizerConfig {
  std::optional<std::string> bos, eos, pad;
  std::vector<std::string> special_tokens;  // named ones and additional ones, in the file's order
  std::vector<AddedToken> added;            // added_tokens_decoder, by id
  std::optional<bool> add_bos, add_eos;
  std::optional<bool> legacy;  // of SentencePiece
  std::string tokenizer_class;
  std::string split_pattern;  // "pat_str", if given
};

// `text` may be empty: then so is the result. Throws invalid_argument or data_loss.
TokenizerConfig parse_tokenizer_config(std::string_view text);

// Adds what the config says to parts read from tokenizer.json: tokens, special flags, bos and eos,
// their template.
void apply_tokenizer_config(const TokenizerConfig& config, TokenizerParts& parts);

// One entry of added_tokens or added_tokens_decoder: content and flags, no id.
AddedToken parse_added_token(const Json& json);

// Components of tokenizer.json. Each throws unsupported, naming a type that it does not know.
Normalizer parse_normalizer(const Json& json);
// Also checks that the last step is ByteLevel: words reach the merges as bytes.
PreTokenizer parse_pre_tokenizer(const Json& json);
PostProcessor parse_post_processor(const Json& json, int32_t id_end);
void check_decoder(const Json& json);

}  // namespace quern

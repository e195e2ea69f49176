// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back, exactly as the reference tokenizer of a checkpoint does it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern {

struct GgufVocabulary;  // text/tokenizer/gguf_vocabulary.h
struct TokenizerParts;  // text/tokenizer/tokenizer_parts.h

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor adds (a begin-of-text token, say)
  bool parse_special =
      true;  // special tokens in the text become their ids; else they are plain text
};

// Which rules go around the pieces of a tokenizer.model.
enum class SentencePieceFamily : uint8_t {
  plain,
  spark,  // iFlytek: "<ret>" for line breaks, four spaces for tabs, turns end with "<end>"
};

struct DecodeOptions {
  bool skip_special = false;
};

// Immutable after construction; all functions may be called from several threads at once. Ids are
// in [0, vocab_size()).
class Tokenizer {
 public:
  // Reads tokenizer.json of a folder, else tiktoken.model, else tokenizer.model, with
  // tokenizer_config.json beside it if there is one; config.json's model_type decides the family of
  // the last, which may also hold tiktoken's ranks (GLM). Throws not_found if the folder has none, data_loss if a file contradicts itself,
  // unsupported naming a part it does not know.
  static Tokenizer from_folder(const std::string& folder);
  // From the texts of tokenizer.json and tokenizer_config.json (may be empty). Throws like
  // from_folder.
  static Tokenizer from_json(std::string_view tokenizer_json, std::string_view config_json = {});
  // From the texts of tiktoken.model and tokenizer_config.json.
  static Tokenizer from_tiktoken(std::string_view ranks, std::string_view config_json);
  // From the bytes of tokenizer.model and the text of tokenizer_config.json (may be empty for
  // spark).
  static Tokenizer from_sentencepiece(std::string_view model,
                                      std::string_view config_json,
                                      SentencePieceFamily family = SentencePieceFamily::plain);
  // From the metadata of a GGUF file. Throws data_loss, or unsupported naming the model or
  // pre-tokenizer.
  static Tokenizer from_gguf_vocabulary(const GgufVocabulary& vocabulary);

  explicit Tokenizer(TokenizerParts parts);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Throws invalid_argument if `text` is not valid UTF-8 or longer than 256 MiB; exhausted if a
  // split pattern that is not one of the known ones goes back too often on it.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // Two texts in one prompt, with the special tokens that the reference puts around and between
  // them. Throws what encode throws; unsupported where the tokenizer's files say nothing of pairs.
  std::vector<int32_t> encode_pair(std::string_view first, std::string_view second) const;
  // The text of `ids`: valid UTF-8, with U+FFFD for each maximal bad part. Ids that do not exist
  // give nothing.
  std::string decode(std::span<const int32_t> ids, const DecodeOptions& options = {}) const;

  // The bytes that a token stands for (maybe part of a character); empty if the id does not exist.
  std::string_view token_bytes(int32_t id) const;
  // Between an id and the token's name as it stands in the vocabulary: byte-level tokens in the
  // printable alphabet ("Ġthe").
  std::optional<std::string> id_to_token(int32_t id) const;
  std::optional<int32_t> token_to_id(std::string_view token) const;

  // Text that decoding turns into a line break, however many tokens spell it ("<ret>"); empty:
  // none.
  std::string_view line_break() const;

  // One past the highest id.
  int32_t vocab_size() const;
  bool is_special(int32_t id) const;
  // Ids of all special tokens, ascending.
  const std::vector<int32_t>& special_ids() const;
  // From tokenizer_config.json or GGUF metadata, if named there and in the vocabulary.
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace quern

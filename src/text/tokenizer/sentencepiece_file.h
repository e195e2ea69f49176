// SPDX-License-Identifier: Apache-2.0
// tokenizer.model: what SentencePiece writes, a protobuf message of pieces and settings. Read here
// as far as the tokenizer needs it, and checked before the library sees it, which trusts its files.
// Source of the fields: sentencepiece_model.proto, version 0.1.97.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct SentencePieceFile {
  enum class Model : uint8_t { unigram = 1, bpe = 2 };
  enum class PieceType : uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
  struct Piece {
    std::string text;  // a space is written as ▁ (U+2581); a byte as <0x0A>
    PieceType type = PieceType::normal;
  };

  Model model = Model::unigram;
  std::vector<Piece> pieces;  // by id
  bool adds_dummy_prefix = true;
  std::optional<int32_t> bos, eos, pad;

  // Throws data_loss for a message that is cut, pieces that contradict each other, scores that are
  // no numbers, or rules of normalization that lead out of their table; unsupported for models
  // other than unigram and BPE, and for white space as a suffix.
  static SentencePieceFile parse(std::string_view bytes);
};

}  // namespace quern

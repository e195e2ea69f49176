// SPDX-License-Identifier: Apache-2.0
// SentencePiece: the pieces of a tokenizer.model, and text cut into them by the library of that
// name. Kudo and Richardson 2018.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/tokenizer/sentencepiece_file.h"

namespace quern {

class SentencePiece {
 public:
  // Throws what SentencePieceFile::parse throws, and data_loss for what the library refuses.
  explicit SentencePiece(std::string_view file);
  ~SentencePiece();

  const SentencePieceFile& file() const { return file_; }

  // Whether `text` begins a text: only there does the space go that the model may want in front.
  enum class Begins : bool { no, yes };
  // Appends the ids of `text`: symbols that the model's user defined are found in it, control
  // symbols are not. Throws invalid_argument for more than 64 MiB. Thread-safe.
  void encode(std::string_view text, Begins begins, std::vector<int32_t>& ids) const;

 private:
  struct Library;
  SentencePieceFile file_;
  std::unique_ptr<const Library> library_;
};

}  // namespace quern

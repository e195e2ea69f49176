// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <string>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kMostTextBytes = size_t{64} << 20;

using Processor = sentencepiece::SentencePieceProcessor;

void load(Processor& processor, const std::string& message) {
  std::string failure;
  try {
    const auto status = processor.LoadFromSerializedProto(message);
    if (!status.ok()) failure = status.ToString();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {  // of its tries
    failure = e.what();
  }
  if (!failure.empty()) fail(ErrorCode::data_loss, "the SentencePiece library says: {}", failure);
}

// A protobuf message that is followed by another is that one's fields over its own.
std::string without_dummy_prefix(std::string_view file) {
  constexpr char kOverride[] = {0x1A, 2, 0x18, 0};  // normalizer_spec {add_dummy_prefix: false}
  return std::string(file).append(kOverride, sizeof kOverride);
}

}  // namespace

struct SentencePiece::Library {
  Processor inside;
  std::unique_ptr<Processor> at_begin;  // null: the same
};

SentencePiece::SentencePiece(std::string_view file) : file_(SentencePieceFile::parse(file)) {
  auto library = std::make_unique<Library>();
  load(library->inside, without_dummy_prefix(file));
  if (file_.adds_dummy_prefix) {
    library->at_begin = std::make_unique<Processor>();
    load(*library->at_begin, std::string(file));
  }
  if (library->inside.GetPieceSize() != static_cast<int>(file_.pieces.size()))
    fail(ErrorCode::data_loss,
         "{} pieces, the SentencePiece library sees {}",
         file_.pieces.size(),
         library->inside.GetPieceSize());
  library_ = std::move(library);
}

SentencePiece::~SentencePiece() = default;

void SentencePiece::encode(std::string_view text, Begins begins, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  if (text.size() > kMostTextBytes)
    fail(ErrorCode::invalid_argument,
         "text to tokenize: {} bytes, the limit of this tokenizer is {}",
         text.size(),
         kMostTextBytes);
  const bool is_begin = begins == Begins::yes && library_->at_begin;
  const Processor& processor = is_begin ? *library_->at_begin : library_->inside;
  std::vector<int> found;
  const auto status = processor.Encode({text.data(), text.size()}, &found);
  if (!status.ok())
    fail(ErrorCode::internal, "the SentencePiece library failed: {}", status.ToString());
  ids.insert(ids.end(), found.begin(), found.end());
}

}  // namespace quern

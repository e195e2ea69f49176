// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/sentencepiece_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "text/tokenizer/string_map.h"
#include "text/tokenizer/tokenizer_parts.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;

// One field of a protobuf message: a number, or bytes.
struct Field {
  uint32_t number = 0;
  enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 } wire = Wire::varint;
  uint64_t value = 0;      // varint, fixed32, fixed64
  std::string_view bytes;  // bytes
};

// Reads the fields of a message in their order; never past its end.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const uint64_t tag = varint();
    Field field;
    field.number = static_cast<uint32_t>(tag >> 3);
    field.wire = static_cast<Field::Wire>(tag & 7);
    if (field.number == 0 || tag >> 3 > (1u << 29) - 1)
      fail(ErrorCode::data_loss, "a field has number {}: this is no SentencePiece model", tag >> 3);
    switch (field.wire) {
      case Field::Wire::varint:
        field.value = varint();
        return field;
      case Field::Wire::fixed64:
        field.value = fixed(8);
        return field;
      case Field::Wire::bytes:
        field.bytes = take(varint());
        return field;
      case Field::Wire::fixed32:
        field.value = fixed(4);
        return field;
    }
    fail(ErrorCode::data_loss, "a field has wire type {}: this is no SentencePiece model", tag & 7);
  }

 private:
  std::string_view take(uint64_t count) {
    if (count > rest_.size())
      fail(ErrorCode::data_loss,
           "a field of {} bytes and {} are left: is the download complete?",
           count,
           rest_.size());
    const std::string_view out = rest_.substr(0, static_cast<size_t>(count));
    rest_.remove_prefix(static_cast<size_t>(count));
    return out;
  }
  uint64_t fixed(size_t bytes) {
    uint64_t out = 0;
    const std::string_view raw = take(bytes);
    for (size_t i = 0; i < bytes; ++i) out |= uint64_t{static_cast<uint8_t>(raw[i])} << (8 * i);
    return out;
  }
  uint64_t varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      out |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return out;
    }
    fail(ErrorCode::data_loss, "a number of more than ten bytes: this is no SentencePiece model");
  }

  std::string_view rest_;
};

[[noreturn]] void fail_wire(std::string_view what) {
  fail(ErrorCode::data_loss, "{} has another wire type than SentencePiece writes", what);
}

uint64_t number_of(const Field& field, std::string_view what) {
  if (field.wire != Field::Wire::varint) fail_wire(what);
  return field.value;
}

std::string_view bytes_in(const Field& field, std::string_view what) {
  if (field.wire != Field::Wire::bytes) fail_wire(what);
  return field.bytes;
}

SentencePieceFile::Piece read_piece(std::string_view message, size_t id) {
  SentencePieceFile::Piece out;
  float score = 0;
  uint64_t type = 1;
  for (Fields fields(message); const auto field = fields.next();) {
    if (field->number == 1) out.text = bytes_in(*field, "a piece's text");
    if (field->number == 2) {
      if (field->wire != Field::Wire::fixed32) fail_wire("a piece's score");
      const auto bits = static_cast<uint32_t>(field->value);
      std::memcpy(&score, &bits, sizeof score);
    }
    if (field->number == 3) type = number_of(*field, "a piece's type");
  }
  const bool is_text = !out.text.empty() && out.text.size() <= kMaxTokenBytes &&
                       utf8_valid_prefix(out.text) == out.text.size() &&
                       out.text.find('\0') == std::string::npos;
  if (!is_text || !std::isfinite(score) || type < 1 || type > 6)
    fail(
        ErrorCode::data_loss,
        "piece {}: expected text of 1 to {} bytes in UTF-8, a score that is a number and a type of "
        "1 to 6, got {} bytes, {} and {}",
        id,
        kMaxTokenBytes,
        out.text.size(),
        score,
        type);
  out.type = static_cast<SentencePieceFile::PieceType>(type);
  return out;
}

uint32_t word_at(std::string_view bytes, size_t at) {
  uint32_t out;
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return out;
}

// Rules of normalization: the size of a double-array trie (units of 32 bits, in blocks of 256), the
// trie, then the texts that its leaves point to. The library follows the trie without looking where
// it leads: each unit's children must lie in it, and each leaf's text must end.
void check_rules(std::string_view rules) {
  if (rules.empty()) return;
  constexpr size_t kUnit = sizeof(uint32_t), kBlock = 256;
  const auto expect = [](bool holds, std::string_view what) {
    if (!holds) fail(ErrorCode::data_loss, "the rules of normalization are damaged: {}", what);
  };
  expect(rules.size() > kUnit, "too short");
  const size_t trie_bytes = word_at(rules, 0);
  expect(trie_bytes < rules.size() - kUnit, "the trie is longer than they are");
  expect(trie_bytes > 0 && trie_bytes % (kUnit * kBlock) == 0, "the trie is not made of blocks");
  const std::string_view trie = rules.substr(kUnit, trie_bytes),
                         texts = rules.substr(kUnit + trie_bytes);
  expect(texts.back() == '\0' && utf8_valid_prefix(texts) == texts.size(),
         "what is put in place is not text");
  const size_t units = trie_bytes / kUnit;
  for (size_t at = 0; at < units; ++at) {
    const uint32_t unit = word_at(trie, at * kUnit);
    if (at > 0 && unit >> 31) continue;  // a leaf; the root is followed without a look at it
    const uint32_t offset = (unit >> 10) << ((unit & (1u << 9)) >> 6);
    const size_t children = static_cast<uint32_t>(at) ^ offset;
    expect(children < units, "the trie leads out of itself");
    if ((unit >> 8) & 1)
      expect((word_at(trie, children * kUnit) & 0x7FFFFFFF) < texts.size(),
             "a leaf points behind the texts");
  }
}

void read_normalizer(std::string_view message, SentencePieceFile& out) {
  for (Fields fields(message); const auto field = fields.next();) {
    if (field->number == 2) check_rules(bytes_in(*field, "precompiled_charsmap"));
    if (field->number == 3) out.adds_dummy_prefix = number_of(*field, "add_dummy_prefix") != 0;
  }
}

std::optional<int32_t> id_of(uint64_t value) {
  const auto id = static_cast<int64_t>(value);  // -1: there is none
  return id < 0 || id > kMaxTokenId ? std::nullopt : std::optional(static_cast<int32_t>(id));
}

void read_trainer(std::string_view message, SentencePieceFile& out) {
  for (Fields fields(message); const auto field = fields.next();) {
    switch (field->number) {
      case 3: {
        const uint64_t model = number_of(*field, "model_type");
        if (model != 1 && model != 2)
          fail(ErrorCode::unsupported, "model_type {}: unigram (1) and BPE (2) are carried", model);
        out.model = static_cast<SentencePieceFile::Model>(model);
        break;
      }
      case 24:
        if (number_of(*field, "treat_whitespace_as_suffix") != 0)
          fail(ErrorCode::unsupported, "white space as a suffix of words is not carried");
        break;
      case 41:
        out.bos = id_of(number_of(*field, "bos_id"));
        break;
      case 42:
        out.eos = id_of(number_of(*field, "eos_id"));
        break;
      case 43:
        out.pad = id_of(number_of(*field, "pad_id"));
        break;
      default:
        break;
    }
  }
}

void check_pieces(const SentencePieceFile& file) {
  using PieceType = SentencePieceFile::PieceType;
  StringMap<size_t> seen;
  size_t unknown = 0;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const auto& piece = file.pieces[id];
    if (const auto [at, is_new] = seen.emplace(piece.text, id); !is_new)
      fail(ErrorCode::data_loss, "pieces {} and {} are both '{:.40}'", at->second, id, piece.text);
    unknown += piece.type == PieceType::unknown;
  }
  if (unknown != 1)
    fail(ErrorCode::data_loss,
         "{} of {} pieces stand for unknown text, expected one",
         unknown,
         file.pieces.size());
}

}  // namespace

SentencePieceFile SentencePieceFile::parse(std::string_view bytes) {
  if (bytes.size() > kMaxFileBytes)
    fail(ErrorCode::data_loss, "{} bytes, the limit is {}", bytes.size(), kMaxFileBytes);
  SentencePieceFile out;
  out.bos = 1, out.eos = 2;  // what the format means where it says nothing
  for (Fields fields(bytes); const auto field = fields.next();) {
    switch (field->number) {
      case 1:
        if (out.pieces.size() > static_cast<size_t>(kMaxTokenId))
          fail(ErrorCode::data_loss, "more than {} pieces", kMaxTokenId);
        out.pieces.push_back(read_piece(bytes_in(*field, "a piece"), out.pieces.size()));
        break;
      case 2:
        read_trainer(bytes_in(*field, "trainer_spec"), out);
        break;
      case 3:
        read_normalizer(bytes_in(*field, "normalizer_spec"), out);
        break;
      case 5: {
        SentencePieceFile unused;  // of decoding, which is done here
        read_normalizer(bytes_in(*field, "denormalizer_spec"), unused);
        break;
      }
      default:
        break;
    }
  }
  check_pieces(out);
  const auto count = static_cast<int32_t>(out.pieces.size());
  for (auto* id : {&out.bos, &out.eos, &out.pad})
    if (*id && **id >= count) id->reset();
  return out;
}

}  // namespace quern

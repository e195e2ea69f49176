// SPDX-License-Identifier: Apache-2.0
// Patterns of tensor names: "transformer.layers.{n}.attn.wq.{part}". Not regular expressions: a
// name is compared in one pass, whatever the pattern.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

// What the places of a pattern stand for in one name.
struct NamePlaces {
  std::string layer;  // {n}: a number of up to four digits, without leading zeros
  std::string part;   // {part}: one word, "weight" or "bias"
};

class NamePattern {
 public:
  // Throws data_loss, naming the pattern, for one that is empty or longer than 256 characters, an
  // unknown or repeated place, a {n} that is followed by a digit, or a {part} that is no whole
  // word.
  static NamePattern parse(std::string_view text);

  // The places, if the whole name fits.
  std::optional<NamePlaces> match(std::string_view name) const;
  // The name with the places filled in.
  std::string fill(const NamePlaces& places) const;
  bool has_layer() const { return has_layer_; }
  bool has_part() const { return has_part_; }
  const std::string& text() const { return text_; }

 private:
  enum class Kind : char { literal, layer, part };
  struct Piece {
    Kind kind;
    std::string literal;
  };

  std::string text_;
  std::vector<Piece> pieces_;
  bool has_layer_ = false, has_part_ = false;
};

}  // namespace quern

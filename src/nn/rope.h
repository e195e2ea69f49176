// SPDX-License-Identifier: Apache-2.0
// Rope: the angles of rotary position embedding. Frequencies come from the config once; cos and sin
// are made once per step.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/builder.h"
#include "ops/rope.h"
#include "tensor/ctx.h"
#include "weights/config.h"

namespace quern {

// cos and sin of the angle of every rotated pair: [T, R/2] float32; of every rotated element,
// [T, R], where a rope has two angles to a pair.
struct RopeTables {
  Tensor cos, sin;
};

// What holds where the config is silent. Sections: how many pairs turn with time, row and column
// (M-RoPE); empty: one axis.
struct RopeDefaults {
  double theta = 10000.0;
  std::vector<int64_t> sections = {};
};

// The rotary settings of a config, in either spelling: rope_parameters, else rope_scaling.
std::optional<Config> rope_settings(const Config& text);
// "default", "yarn", …: rope_type, in older files type.
std::string rope_type(const Config& settings);
// rope_theta of the settings, else of `text`, else `silent`. Throws data_loss unless it is above 1.
double rope_theta(const Config& text, const std::optional<Config>& settings, double silent);

// How many elements of a head are turned: partial_rotary_factor of the settings, else of `text`,
// else `silent`. Throws data_loss unless they are an even part of the head.
int64_t rotary_size(const Config& text, int64_t head_size, double silent);

class Rope {
 public:
  Rope() = default;
  // R/2 frequencies theta^(-2j/R), on position axis 0, without scaling.
  static Rope plain(int64_t rotary_size, double theta);
  // What a decoder's config asks for: rope_theta; rope_scaling or rope_parameters of type default,
  // mrope, linear, llama3 or yarn (throws unsupported for others); mrope_section assigns runs of
  // frequencies to position axes. A tensor rope_freqs.weight (llama3 scaling as GGUF stores it)
  // divides the frequencies.
  static Rope from(const Builder& b,
                   const Config& text,
                   int64_t rotary_size,
                   const RopeDefaults& defaults = {});
  // Vision towers: the first R/4 pairs turn with the patch's row (axis 0), the next with its column
  // (axis 1), each with the frequencies theta^(-2j/(R/2)).
  static Rope rows_and_columns(int64_t rotary_size, double theta);

  // How sections over several axes are laid over the R elements of a head (XD-RoPE of HunYuan).
  enum class Sections : uint8_t {
    pairs,     // sections[a] pairs turn with axis a: a true rotation
    elements,  // 2 sections[a] elements do, so that the halves of a pair may turn by two angles
  };
  // R/2 frequencies theta^(-2j/R); the sections sum to R/2, one for each position axis.
  static Rope sectioned(int64_t rotary_size,
                        double theta,
                        std::span<const int64_t> sections,
                        Sections layout);

  int axes() const { return axes_; }
  // Angles of one position: R/2, or R with two to a pair.
  int64_t angles() const { return static_cast<int64_t>(frequencies_.size()); }

  // positions [A, T] row-major; with A = 1 every axis reads row 0 (text). Angles are formed in
  // float32, as the reference does.
  RopeTables tables(Ctx& ctx, std::span<const int32_t> positions, int axes) const;

 private:
  void divide(const Tensor& factors);  // frequency j by factors[j]

  std::vector<float> frequencies_;  // radians per position, of each angle
  std::vector<uint8_t> axis_;       // which position each angle grows with
  int axes_ = 1;
  float table_scale_ = 1;  // of cos and sin (YaRN)
};

}  // namespace quern

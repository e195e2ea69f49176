// SPDX-License-Identifier: Apache-2.0
// YaRN: rotary frequencies for contexts beyond the one that a model was trained on. Peng et al.
// 2023. High frequencies stay, low ones are divided by `factor`, between them a ramp. Scores grow
// with the context; two temperatures answer for that: one in cos and sin, one in the softmax scale.
#pragma once

#include <optional>
#include <vector>

#include "weights/config.h"

namespace quern {

struct Yarn {
  double factor = 1;
  int64_t original_positions = 0;               // of training
  double beta_fast = 32, beta_slow = 1;         // turns within these positions: where the ramp ends
  double mscale = 0, mscale_all_dim = 0;        // 0: not stated
  std::optional<double> attention_factor = {};  // stated outright
  bool rounds_ramp = true;                      // its ends to whole dimensions

  // `scaling`: rope_scaling or rope_parameters of type yarn. Without a factor it is max_positions
  // over original_max_position_embeddings. Throws data_loss naming the key.
  static Yarn from(const Config& scaling, int64_t max_positions);

  // Frequencies theta^(-2j/R), j < R/2, as they turn.
  std::vector<float> frequencies(int64_t rotary_size, double theta) const;
  // What cos and sin are multiplied with.
  float table_scale() const;
  // What DeepSeek multiplies the softmax scale with; 1 without mscale_all_dim.
  double softmax_scale() const;
};

}  // namespace quern

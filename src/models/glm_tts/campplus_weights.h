// SPDX-License-Identifier: Apache-2.0
// CampplusWeights: the layers of the speaker encoder CAM++ as numbers, whichever file they come
// from: batch norms behind a convolution are melted into it, as exporters do it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/builder.h"

namespace quern {

struct OnnxNode;

struct CampplusWeights {
  struct Convolution {
    int64_t out = 0, in = 0, taps = 1;  // taps: of one axis, or of both, bands before time
    int64_t dilation = 1;
    std::vector<float> weights;  // [out, in, taps]
    std::vector<float> bias;     // [out]; empty: none
  };
  // y = scale x + shift. Empty: y = x.
  struct Affine {
    std::vector<float> scale, shift;
  };
  struct Residual {
    Convolution first, second, shortcut;  // shortcut.out is 0 where the input is added as it is
  };
  struct Layer {
    Affine norm;
    Convolution bottleneck, local, squeeze, excite;
  };
  struct Block {
    std::vector<Layer> layers;
    Affine norm;
    Convolution transit;
  };

  Convolution head_in;
  std::vector<Residual> residuals;
  Convolution head_out, tdnn;
  std::vector<Block> blocks;
  Affine out;
  Convolution embedding;
};

// From tensors under the names of the public definition (3D-Speaker). Throws not_found for a
// missing one, data_loss for shapes that do not fit together.
CampplusWeights campplus_from_names(const Checkpoint& tensors);
// From an exported graph and its initializers, whose names say little: layers are found by what
// they read. Throws data_loss where the graph is another one, unsupported for groups of channels.
CampplusWeights campplus_from_graph(const Checkpoint& initializers,
                                    std::span<const OnnxNode> nodes);

// A tensor [out, in, taps…] with its bias, if `bias` is not empty. Throws data_loss for another
// rank. These three are what both of the above are made of.
CampplusWeights::Convolution read_convolution(const Checkpoint& tensors,
                                              const std::string& weight,
                                              const std::string& bias);
// What a batch norm does in use: scale = weight / sqrt(variance + eps), …; `weight` and `bias` may
// be empty names (1 and 0).
struct BatchNormNames {
  std::string weight, bias, mean, variance;
  double eps = 1e-5;
};
CampplusWeights::Affine read_batch_norm(const Checkpoint& tensors, const BatchNormNames& names);
// The convolution followed by the norm, as one.
void melt(CampplusWeights::Convolution& convolution, const CampplusWeights::Affine& norm);
// Throws data_loss naming the layer whose sizes do not fit to those before it.
void check_campplus(const CampplusWeights& weights);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// SourcePadding: the gated MLPs of a checkpoint grow by channels of exactly zero before they are
// quantized. Their groups then hold zeros, which every scheme keeps: they decode to exactly zero.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "quantize/padding.h"

namespace quern {

// The inner width becomes a multiple of `multiple`, or divides into whole groups among each of
// these numbers of ranks; with neither it stays. Both are too much.
struct PaddingChoice {
  int64_t multiple = 0;
  std::vector<int64_t> degrees;
  bool is_asked() const { return multiple > 0 || !degrees.empty(); }
};

class SourcePadding {
 public:
  struct Growth {
    int64_t before = 0, after = 0;
  };

  SourcePadding() = default;  // nothing grows
  // `granule`: channels that the scheme keeps together. Dense MLPs grow by intermediate_size, each
  // expert by moe_intermediate_size, shared experts by as many of it as they are. Throws
  // invalid_argument for a choice that cannot be, data_loss naming a key of the config.
  SourcePadding(const Config& config, const PaddingChoice& choice, int64_t granule);

  // Whether a linear layer, or its tensor ("….weight", "….bias"), grows.
  bool grows(std::string_view name) const { return of(name).has_value(); }
  // The shape that a tensor, or the matrix of a linear layer, has afterwards. Throws data_loss
  // where it is not as wide as the config says.
  Shape padded(std::string_view name, const Shape& shape) const;
  // Values of float32, followed by zeros where they grow.
  Tensor padded(std::string_view name, const Tensor& values) const;
  // The stored floats of a tensor that grows.
  void write(const TensorInfo& tensor, std::span<const std::byte> bytes, ByteSink out) const;
  // The config's sizes, as they are afterwards.
  void change(Json& config) const;
  // Of each key that changes: [before, after].
  Json report() const;

 private:
  struct Side {
    AxisPadding axis;
    Growth growth;
  };
  std::optional<Side> of(std::string_view name) const;

  std::map<std::string, Growth, std::less<>> keys_;  // of config.json
  int64_t shared_ = 0;                               // experts that are one layer
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Model: what the engine sees of a checkpoint once loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/kv_cache.h"
#include "cache/kv_spec.h"
#include "media/media_input.h"
#include "nn/batch.h"
#include "tensor/ctx.h"

namespace quern {

struct ModelInfo {
  std::string architecture;  // "Qwen2VLForConditionalGeneration"
  std::string model_type;    // "qwen2_vl"
  int64_t vocab_size = 0;    // token ids; rows of the output matrix
  int64_t hidden_size = 0;
  int64_t row_size = 0;  // values of a row of forward; 0: vocab_size, as rows are logits
  int layers = 0;
  int64_t max_positions = 0;
  int rope_axes = 1;  // A of Batch::positions
  int64_t heads = 0;  // query heads; each has head_size columns of o_proj
  int64_t head_size = 0;
  bool has_vision = false, has_audio = false;
  // Placeholders that media rows replace.
  int32_t image_token = -1, video_token = -1, audio_token = -1;

  int64_t row_values() const { return row_size > 0 ? row_size : vocab_size; }
};

// Sees intermediate results; for `verify` and tests. Names are those of the golden files: "hidden"
// with layer 0 = input embedding, i = after layer i, last = after the final norm;
// "image_encoder_last_hidden" and "image_embeds", for clips too; "audio_encoder_last_hidden" and
// "audio_embeds". Where a tower reorders patches
// into windows, the former has them in window order, as the reference has. Layers with experts show
// "router_ids" (ascending) and "router_weights", [T, k] float32, under the layer's own number.
class Probe {
 public:
  virtual ~Probe() = default;
  virtual void record(std::string_view name, int layer, const Tensor& value) = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelInfo& info() const = 0;
  virtual KvSpec kv_spec() const = 0;
  virtual int64_t weight_bytes() const = 0;  // packed, on its device

  // A tower's output for one picture, clip or recording: [tokens, D] float32, the same on every
  // rank; [tokens, 0] on stages after the first, which need none. Throws unsupported for a kind the
  // model lacks.
  virtual Tensor encode(Ctx& ctx, const MediaInput& media, Probe* probe = nullptr) const;
  // One step: writes K and V of every token, returns logits [batch.sample_rows, V] float32 on the
  // first rank of the last stage, an undefined tensor on all others. A model that pools returns
  // hidden states or scores in their place (BuilderOptions::output), of info().row_values() each. A
  // row of the result depends on its own sequence alone: bit-equal for any company, chunk and block
  // size.
  virtual Tensor forward(Ctx& ctx,
                         const Batch& batch,
                         KvCache& kv,
                         Probe* probe = nullptr) const = 0;
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// What GGUF calls things, and what the published checkpoints call them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

// A model family as GGUF names it.
struct GgufFamily {
  std::string_view architecture;  // general.architecture
  std::string_view model_type;    // of config.json
  std::string_view model_class;   // likewise, `architectures`
  // The converter reorders the rows of q and k, because llama.cpp's rotary embedding turns
  // neighbours (2i, 2i + 1) of such families where the published code turns (i, i + E/2).
  bool interleaves_rotary;
};

// Throws unsupported for an unknown architecture, naming the known ones.
const GgufFamily& gguf_family(std::string_view architecture);

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; unknown names stay as they
// are.
std::string published_name(std::string_view gguf);

// Row r of a published q or k projection of `heads` heads is stored row order[r]. Throws data_loss
// if heads do not divide rows evenly into pairs.
std::vector<int32_t> rotary_row_order(int64_t rows, int64_t heads);

}  // namespace quern

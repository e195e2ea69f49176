// SPDX-License-Identifier: Apache-2.0
// Sources: gguf-py's tensor_mapping.py; llama.cpp's convert_hf_to_gguf.py (permute).
#include "weights/gguf_names.h"

#include <limits>

#include "base/error.h"

namespace quern {
namespace {

constexpr GgufFamily kFamilies[] = {
    {"llama", "llama", "LlamaForCausalLM", true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false},
    {"qwen2vl", "qwen2_vl", "Qwen2VLForConditionalGeneration", false},
};

struct NamePair {
  std::string_view gguf, published;
};
constexpr NamePair kOutside[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};
constexpr NamePair kInLayer[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

constexpr std::string_view kLayer = "blk.";

// `stem` of "stem.weight" or "stem.bias" by the table; nothing if it is not there.
template <size_t N>
std::string renamed(const NamePair (&table)[N], std::string_view prefix, std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  for (const NamePair& pair : table)
    if (pair.gguf == name.substr(0, dot))
      return format("{}{}{}", prefix, pair.published, name.substr(dot));
  return {};
}

}  // namespace

const GgufFamily& gguf_family(std::string_view architecture) {
  std::string known;
  for (const GgufFamily& family : kFamilies) {
    if (family.architecture == architecture) return family;
    known += format("{}{}", known.empty() ? "" : ", ", family.architecture);
  }
  fail(ErrorCode::unsupported,
       "general.architecture: {:.60}; this build reads {} from GGUF",
       architecture,
       known);
}

std::string published_name(std::string_view gguf) {
  std::string out;
  if (!gguf.starts_with(kLayer)) {
    out = renamed(kOutside, "", gguf);
  } else {
    const std::string_view rest = gguf.substr(kLayer.size());
    const size_t dot = rest.find('.');
    if (dot == std::string_view::npos) return std::string(gguf);
    out = renamed(kInLayer, format("model.layers.{}.", rest.substr(0, dot)), rest.substr(dot + 1));
  }
  return out.empty() ? std::string(gguf) : out;
}

std::vector<int32_t> rotary_row_order(int64_t rows, int64_t heads) {
  if (heads < 1 || rows % (2 * heads) != 0 || rows > std::numeric_limits<int32_t>::max())
    fail(ErrorCode::data_loss,
         "{} rows for {} heads: expected whole heads of an even size",
         rows,
         heads);
  const auto size = static_cast<int32_t>(rows / heads), half = size / 2;
  std::vector<int32_t> order;
  order.reserve(static_cast<size_t>(rows));
  for (int32_t head = 0; head < heads; ++head)
    for (int32_t i = 0; i < size; ++i) order.push_back(head * size + 2 * (i % half) + i / half);
  return order;
}

}  // namespace quern

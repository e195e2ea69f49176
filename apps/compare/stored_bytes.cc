// SPDX-License-Identifier: Apache-2.0
#include "compare/stored_bytes.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace quern::compare {
namespace {

// The first that stands in a name says what it is.
constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kSigns = {{
    {"visual.", "tower"},
    {"vision_", "tower"},
    {"vit.", "tower"},
    {"audio_tower.", "tower"},
    {"lm_head.", "head"},
    {"embed_tokens.", "embeddings"},
    {"norm", "norms"},
    {".self_attn.", "attention"},
    {".experts.", "experts"},
    {".shared_expert", "experts"},
    {".mlp.", "mlp"},
    {"embed_", "embeddings"},
}};

}  // namespace

std::string_view kind_of(std::string_view tensor) {
  for (const auto& [sign, kind] : kSigns)
    if (tensor.find(sign) != std::string_view::npos) return kind;
  return "other";
}

Json bytes_by_kind(const Checkpoint& checkpoint) {
  Json out = Json::object();
  for (const char* kind :
       {"embeddings", "attention", "mlp", "experts", "head", "norms", "tower", "other"}) {
    int64_t bytes = 0;
    for (const std::string& name : checkpoint.names())
      if (kind_of(name) == kind) bytes += static_cast<int64_t>(checkpoint.bytes(name).size());
    if (bytes > 0) out[kind] = bytes;
  }
  return out;
}

}  // namespace quern::compare

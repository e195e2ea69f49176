// SPDX-License-Identifier: Apache-2.0
#include "bench/shapes.h"

namespace quern::bench {
namespace {

struct Sizes {
  int64_t hidden, layers, heads, kv_heads, head_size, intermediate, vocab;
};

std::vector<LinearShape> products(const Sizes& s) {
  return {{"qkv", (s.heads + 2 * s.kv_heads) * s.head_size, s.hidden, s.layers},
          {"o", s.hidden, s.heads * s.head_size, s.layers},
          {"gate_up", 2 * s.intermediate, s.hidden, s.layers},
          {"down", s.hidden, s.intermediate, s.layers},
          {"head", s.vocab, s.hidden, 1}};
}

}  // namespace

std::vector<LinearShape> linear_shapes(const Config& whole) {
  constexpr int64_t kMost = int64_t{1} << 24;
  const Config config = whole.sub_or_self("text_config");
  const int64_t hidden = config.integer("hidden_size", 1, kMost);
  const int64_t heads = config.integer("num_attention_heads", 1, hidden);
  return products({.hidden = hidden,
                   .layers = config.integer("num_hidden_layers", 1, 4096),
                   .heads = heads,
                   .kv_heads = config.integer_or("num_key_value_heads", heads, 1, heads),
                   .head_size = config.integer_or("head_dim", hidden / heads, 1, kMost),
                   .intermediate = config.integer("intermediate_size", 1, kMost),
                   .vocab = config.integer("vocab_size", 1, kMost)});
}

std::vector<LinearShape> default_shapes() {
  return products({.hidden = 1536,
                   .layers = 28,
                   .heads = 12,
                   .kv_heads = 2,
                   .head_size = 128,
                   .intermediate = 8960,
                   .vocab = 151936});
}

double prompt_ops(const std::vector<LinearShape>& shapes) {
  double ops = 0;
  for (const LinearShape& s : shapes)
    if (s.name != "head") ops += 2.0 * static_cast<double>(s.n * s.k * s.count);
  return ops;
}

}  // namespace quern::bench

// SPDX-License-Identifier: Apache-2.0
// Embedding: token ids -> rows; LmHead: hidden states -> logits. Both split the vocabulary over
// ranks. ScoreHead: hidden states -> scores of classes.
#pragma once

#include <memory>
#include <span>

#include "nn/builder.h"

namespace quern {

class Embedding {
 public:
  // `name` below b: "embed_tokens". The table keeps its stored type.
  Embedding(const Builder& b, std::string_view name, int64_t vocab, int64_t hidden);
  // [T] -> [T, D] float32. Throws invalid_argument for an id outside the vocabulary.
  Tensor operator()(Ctx& ctx, std::span<const int32_t> ids) const;

 private:
  Tensor look_up(Ctx& ctx, std::span<const int32_t> ids) const;  // ids of this rank's part

  Table table_;
  int64_t vocab_, hidden_;
  Range part_;
  Shard shard_;
};

class LmHead {
 public:
  // `name` below b: "lm_head", or the embedding's where the two are tied.
  LmHead(const Builder& b,
         std::string_view name,
         int64_t vocab,
         int64_t hidden,
         Bias bias = Bias::none);
  // [n, D] -> [n, V] on the first rank; undefined on the others.
  Tensor operator()(Ctx& ctx, const Tensor& h) const;

 private:
  Linear linear_;
  int64_t vocab_;
  Shard shard_;
};

// In float32 whatever the activations are, and on the first rank alone: it is a row or a few.
class ScoreHead {
 public:
  // `name` below b: "score" [labels, D], without bias.
  ScoreHead(const Builder& b, std::string_view name, int64_t labels, int64_t hidden);
  // [n, D] -> [n, labels]
  Tensor operator()(Ctx& ctx, const Tensor& h) const;

 private:
  Tensor weights_;  // [labels, D] float32
  int64_t labels_, hidden_;
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// How much a text surprises a model, and how far two models lie apart on it, token by token.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/statistics.h"
#include "model_options.h"

namespace quern::eval {

// The name of a text that is built in: prose that no calibration set holds.
constexpr std::string_view kBuiltInText = "built-in";

struct TextQuestion {
  ModelOptions model;
  std::optional<ModelOptions> other;  // what it is held against
  std::string other_name;             // for messages and lines
  bool is_other_checkpoint = false;   // else the same weights, with other inputs
  std::string text;                   // a file, or kBuiltInText
  int64_t max_tokens = 100'000, context = 1024;
  uint64_t seed = 0;  // of bootstrap samples
};

struct Score {
  BlockSums surprise;       // nats of each token
  int64_t bytes = 0;        // of the text of the tokens that were scored
  std::vector<float> last;  // logits behind the last token

  double perplexity() const;
  Interval perplexity_interval(uint64_t seed) const;
  double bits_per_byte() const;
};

// How far rows of logits lie from others: Kullback-Leibler divergence in nats, how much more the
// text surprises the one than the other, and where both have the same best token.
struct Distance {
  BlockSums divergence, excess;
  double largest = 0;
  int64_t agreeing = 0;

  double agreement() const;
};

struct TextResult {
  std::vector<int32_t> ids;
  Score score;
  std::optional<Score> other;
  Distance distance;
};

// Throws what opening a model throws; invalid_argument for a text without tokens, or where the two
// cannot be compared token by token.
TextResult evaluate_text(const TextQuestion& question);

// The bytes of a text file, or of the built-in one.
std::string text_named(const std::string& name);

// "perplexity", "perplexity_interval", … and with another model "kl_divergence" and the like.
Json as_json(const TextQuestion& question, const TextResult& result);
std::string as_text(const TextQuestion& question, const TextResult& result);

}  // namespace quern::eval

// SPDX-License-Identifier: Apache-2.0
// Pooling: a model that answers with one vector per prompt. Its last layer gives rows of another
// kind than logits; which of them make the vector, and what is done to it, is said here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quern {

// What the rows of Model::forward are.
enum class Output : uint8_t {
  logits,  // [V]
  hidden,  // [D], after the final norm
  scores,  // [labels]: a classification head over that
};

// Which rows of a prompt make its vector. Attention is causal, so the first row has seen the first
// token alone.
enum class PoolingType : uint8_t { last, mean, cls };

// What becomes of scores: as they are, each its sigmoid, or together their softmax.
enum class ScoreActivation : uint8_t { none, sigmoid, softmax };

struct Pooling {
  Output output = Output::hidden;
  PoolingType type = PoolingType::last;
  // Of a vector: to length 1; of scores: `activation`. Requests may ask for the other.
  bool is_activated = true;
  ScoreActivation activation = ScoreActivation::none;
  std::vector<std::string> labels;  // of scores, by row
  int64_t size = 0;                 // values of a vector
  bool is_matryoshka = false;       // vectors may be cut
  std::vector<int64_t> cuts;        // to these sizes; empty: any
};

}  // namespace quern

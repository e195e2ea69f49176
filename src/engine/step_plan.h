// SPDX-License-Identifier: Apache-2.0
// StepPlan: all that the ranks need for one step, and StepResult: what comes back. Plain data that
// can be written to a pipe. The workers keep no sequence state: a plan carries tokens, positions
// and block tables, and media by content hash.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/hash.h"
#include "media/media_input.h"
#include "nn/batch.h"

namespace quern {

// A picture, clip or recording to encode in this step; the worker keeps its rows under `hash` until
// released.
struct EncodeTask {
  Hash128 hash;
  std::shared_ptr<const MediaInput> media;
};

// Rows [source_begin, source_begin + count) of an encoded medium replace the embeddings of step
// rows from first_row on.
struct MediaUse {
  Hash128 hash;
  int32_t source_begin = 0;
  int32_t first_row = 0;
  int32_t count = 0;
};

struct StepPlan {
  uint64_t epoch =
      0;  // of the workers this plan was made for; an answer from another epoch is dropped
  uint64_t step = 0;
  Batch batch;  // without its media: the worker fills those from the uses below
  std::vector<EncodeTask> encode;  // non-token work, bounded by EngineConfig::encode_budget_tokens
  std::vector<MediaUse> media;
  std::vector<Hash128> release;  // encoded media no longer needed

  // A flat byte form with a version word; parse throws data_loss on anything malformed or out of
  // bounds.
  std::string serialize() const;
  static StepPlan parse(std::string_view bytes);
};

struct StepResult {
  uint64_t epoch = 0;
  uint64_t step = 0;
  int64_t row_size = 0;
  std::vector<float>
      rows;               // [batch.sample_rows, row_size]: logits, or what a model that pools gives
  int64_t encode_us = 0;  // spent in towers
};

}  // namespace quern

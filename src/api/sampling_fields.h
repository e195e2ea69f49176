// SPDX-License-Identifier: Apache-2.0
// The sampling fields that all generating requests share, and what becomes of them once model and
// prompt are known.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/field_reader.h"
#include "api/structured_fields.h"
#include "sampling/sampling_params.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {

// What a model's generation_config.json (or the operator) puts in the place of absent fields; the
// names and the choice of keys are vLLM's.
struct GenerationDefaults {
  double temperature = 1.0, top_p = 1.0, min_p = 0.0, repetition_penalty = 1.0;
  int top_k = 0;
  std::optional<int> max_tokens;       // max_new_tokens: the cap where a request names none
  std::vector<int32_t> eos_token_ids;  // a token of these ends an answer, unless ignore_eos

  // Reads the keys it knows; throws data_loss on a wrong type.
  static GenerationDefaults from(const Json& generation_config);
};

// How tokens become text (StreamAssembler).
struct TextOptions {
  std::vector<std::string> stop;  // the answer ends in front of the first of these
  bool include_stop = false;      // ... or behind it
  std::vector<int32_t>
      stop_token_ids;  // the ids that the request named; those of the model give no stop_reason
  bool skip_special_tokens = true;
  std::vector<int32_t> shown_special_ids = {};  // special tokens that the answer's parser must see
  int min_tokens = 0;                           // stop strings count only in text of later tokens
};

struct SamplingFields {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k, max_tokens;
  double presence_penalty = 0, frequency_penalty = 0;
  std::optional<uint64_t> seed;
  int min_tokens = 0, n = 1, priority = 0;
  bool ignore_eos = false;
  std::string cache_salt;                     // empty: none
  int logprobs = -1;                          // -1: none
  int prompt_logprobs = -1;                   // -1: none
  bool echoes_logprobs = false;               // logprobs are those of the prompt's tokens too
  std::optional<int> truncate_prompt_tokens;  // the last so many are kept; -1: as many as fit
  bool return_token_ids = false;              // ids beside the text
  bool return_tokens_as_token_ids = false;    // "token_id:17" for the text of a token in logprobs
  std::vector<int32_t> allowed_token_ids;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::vector<std::string> bad_words;
  TextOptions text;
  std::optional<Constraint> constraint;  // what the answer must be

  // All but max_tokens and logprobs, which chat and completion spell differently.
  static SamplingFields parse(FieldReader& fields);
};

// The field of that name, checked; empty if it is absent.
std::string cache_salt_of(FieldReader& fields);

struct ResolveLimits {
  int64_t max_model_len = 0;
  int64_t prompt_tokens = 0;
  int fallback_max_tokens =
      0;  // where neither request nor model names one; 0: all the room that is left
  uint64_t fallback_seed = 0;  // where the request names none
};

// The parameters that the engine runs with. Throws RequestError for a prompt that leaves no room, a
// max_tokens beyond the room, token ids outside the vocabulary.
SamplingParams resolve(const SamplingFields& fields,
                       const GenerationDefaults& defaults,
                       const ResolveLimits& limits,
                       const Tokenizer& tokenizer);

}  // namespace quern

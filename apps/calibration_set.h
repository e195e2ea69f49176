// SPDX-License-Identifier: Apache-2.0
// The texts that a quantizer runs a model on, as token ids, and pictures among them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "prompt/prompt_builder.h"
#include "quantize/quantizer/calibration_sequence.h"

namespace quern {

constexpr std::string_view kNoTexts = "none";

struct CalibrationChoice {
  std::string file;       // empty: the set that is built in; kNoTexts: none
  int64_t tokens = 8192;  // at most
  int64_t length = 512;   // tokens of a sequence, at most
  uint64_t seed = 0;      // of the order in which documents are taken
};

// Documents of a file: a text file is one; of a JSONL file ("*.jsonl") each line is one, {"text":
// …} or {"messages": […]} through the model's chat template. They are shuffled, put one behind the
// other and cut into sequences. Messages with pictures (data: URLs, and file:// URLs or relative
// paths below the folder of the file) are a sequence of their own, whole, or left out where
// choice.tokens has no room for them. Throws not_found, or invalid_argument naming the line; and
// where there are too few tokens to be of use.
std::vector<CalibrationSequence> read_calibration(const PromptBuilder& prompts,
                                                  const CalibrationChoice& choice);

// The built-in set: prose, code, mathematics, conversations, several languages; documents divided
// by a line of "====".
std::string_view built_in_calibration();

// Prose that the built-in set has nothing of: to judge by (bench/prose.txt).
std::string_view built_in_prose();

}  // namespace quern

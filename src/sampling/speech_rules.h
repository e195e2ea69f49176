// SPDX-License-Identifier: Apache-2.0
// SpeechRules: which tokens may follow in the transcript of a recording. Times are tokens,
// ascending in steps, and stand in pairs: where one piece of speech ends the next begins.
//
//   <0.00> It is late. <2.40><2.40> Good night. <4.10> end
//
// Source: Radford et al. 2022 (Whisper), section 4.5; transformers 5.23,
// WhisperTimeStampLogitsProcessor.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sampling/logit_processor.h"

namespace quern {

struct SpeechRules {
  std::vector<int32_t> never, never_first;  // tokens that may not come; not as the first one
  bool has_times = false;                   // else no times are asked for, and none is ruled on
  int32_t end = -1;                         // of the text; ids below it are words
  int32_t no_times = -1;                    // says that there are none; never comes where there are
  int32_t first_time = -1;                  // 0.00; every id from here on is a time
  int32_t most_steps_before = 50;           // the first time is at most so many steps late

  // Throws data_loss for ids that are none of a vocabulary of this size.
  void validate(int64_t vocab_size) const;
};

std::unique_ptr<LogitProcessor> make_speech_rules(std::shared_ptr<const SpeechRules> rules);

}  // namespace quern

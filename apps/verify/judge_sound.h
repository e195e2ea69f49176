// SPDX-License-Identifier: Apache-2.0
// What a case stores of recordings: mel frames, window by window, as far as there is sound in them.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/json.h"
#include "prompt/prompt.h"
#include "verify/golden_case.h"
#include "verify/report.h"

namespace quern {

// "input_features" [windows, bands, stored frames] and "input_features_mask" of `prompt` (an entry
// of expected.json) against those of `made`. A last window that becomes no token is stored, not
// made: it is stated, not judged.
void judge_features(const GoldenCase& golden,
                    const Json& prompt,
                    const Prompt& made,
                    Report& report);

// `media`, window number `window` of the prompt `name`, with the mel frames that are stored; what
// lies behind them stays. Throws data_loss where there is no such window.
std::shared_ptr<const MediaInput> stored_window(const GoldenCase& golden,
                                                const std::string& name,
                                                int64_t window,
                                                const MediaInput& media);

// A tensor of windows without such a last one, if it then has `count` values; else all of it.
std::span<const float> first_windows(const Tensor& windows, size_t count);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// The flags of pictures, clips and recordings, under vLLM's names where it has them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "prompt/media_source.h"
#include "prompt/processor_options.h"

namespace CLI {
class App;
}

namespace quern {

struct MediaOptions {
  MediaLimits limits;
  ProcessorOptions processor;          // in the place of what the model's files say
  std::string decoder = "in-process";  // where pictures become pixels: "process" or "in-process"
  int64_t decode_timeout_s = 30;       // of one picture in a process
  double cache_gb = 0.5;               // GiB of decoded media that are kept; 0: none
};

// The media that a command may open. What `options` says is the default.
void add_media_options(CLI::App& command, MediaOptions& options);

// Where a model that speaks finds its voices (docs/speech.md).
void add_voice_options(CLI::App& command, std::string& folder);

// --limit-mm-per-prompt in all its forms: {"image": 4, "video": {"count": 1}}, image=4,video=1, or
// 4, which is for every kind. Kinds that are not named keep their number in `counts` (by
// MediaKind). Throws invalid_argument naming what is wrong.
void read_media_counts(std::string_view text, std::array<int, 3>& counts);

}  // namespace quern

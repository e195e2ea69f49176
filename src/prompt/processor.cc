// SPDX-License-Identifier: Apache-2.0
#include "prompt/processor.h"

#include <numeric>

#include "base/error.h"

namespace quern {
namespace {

struct ProcessorEntry {
  const char* model_type;
  std::unique_ptr<Processor> (*open)(const std::string& folder,
                                     const Config& config,
                                     const ProcessorOptions& options);
};

constexpr ProcessorEntry kProcessors[] = {
    {"qwen2_vl", open_qwen2_vl},
    {"qwen2_5_vl", open_qwen2_vl},
    {"glm4v", open_glm4v},
    {"glm4v_moe", open_glm4v},
    {"hunyuan_vl", open_hunyuan_vl},
    {"glmasr", open_glmasr},
    {"whisper", open_whisper},
};

}  // namespace

std::unique_ptr<Processor> open_processor(const std::string& folder,
                                          const Checkpoint& checkpoint,
                                          const ProcessorOptions& options) {
  const Config& config = checkpoint.config();
  const std::string type = config.string_or("model_type", "");
  for (const ProcessorEntry& entry : kProcessors)
    if (type == entry.model_type) return entry.open(folder, config, options);
  if (config.has("vision_config") || config.has("audio_config"))
    fail(ErrorCode::unsupported,
         "{}: model_type \"{}\" takes media, but has no processor here",
         config.path(),
         type);
  return nullptr;
}

void place_text(Prompt& prompt, int axes) {
  const size_t tokens = prompt.ids.size();
  prompt.axes = axes;
  prompt.rope_delta = 0;
  prompt.positions.resize(tokens * axes);
  for (int axis = 0; axis < axes; ++axis)
    std::iota(prompt.positions.begin() + axis * tokens,
              prompt.positions.begin() + (axis + 1) * tokens,
              0);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// One layout of a config, whatever code it was written for.
#pragma once

#include "weights/config.h"

namespace quern {

// GLM-ASR's first upload came with code of its own: `lm_config`, `whisper_config` with Whisper's
// keys, model_type "Glmasr". It becomes what transformers writes: `text_config`, `audio_config`,
// "glmasr". Other configs stay as they are. Throws unsupported for settings of that code that no
// published file has, naming them.
Config canonical_config(const Config& config);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Where the pictures of a served model are opened, as the flags say.
#pragma once

#include "media_options.h"
#include "prompt/media_source.h"
#include "prompt/prompt_builder.h"

namespace quern {

// With processes that decode, where asked for and the model takes media: they are there on return.
// Throws unavailable if none can be started.
MediaSource open_media(const MediaOptions& options, const PromptBuilder& model);
// What decodes recordings that no prompt shows: the same processes, or this one.
std::shared_ptr<MediaDecoder> open_decoder(const MediaOptions& options);

}  // namespace quern

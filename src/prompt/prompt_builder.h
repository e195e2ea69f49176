// SPDX-License-Identifier: Apache-2.0
// PromptBuilder: messages, text or ids → Prompt: chat template, media, tokenizer, placeholder
// expansion, positions.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "prompt/media_source.h"
#include "prompt/prompt.h"
#include "prompt/prompt_rules.h"
#include "text/jinja/chat_template.h"
#include "text/tokenizer/tokenizer.h"
#include "weights/checkpoint.h"

namespace quern {

struct ChatOptions {
  const Json* tools = nullptr;            // an array, or null
  const Json* template_kwargs = nullptr;  // an object: further variables of the template
  ProcessorOptions processor = {};        // for all media of the conversation
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the last message is left open
  bool add_special_tokens = false;      // a template writes its own
};

// Safe to use from several threads at once.
class PromptBuilder {
 public:
  // Reads the processor, template and tokenizer files beside the checkpoint (or its GGUF metadata).
  // `model_folder` is the folder, or the .gguf file. `chat_template` (a file's text), if given,
  // replaces the model's own; `options` replace what the processor's files say, and are
  // invalid_argument for a text model. Throws unsupported for a media model without a processor
  // here, data_loss for files that contradict the config.
  static std::unique_ptr<PromptBuilder> open(const std::string& model_folder,
                                             const Checkpoint& checkpoint,
                                             std::optional<std::string> chat_template = {},
                                             const ProcessorOptions& options = {});
  virtual ~PromptBuilder() = default;

  virtual const Tokenizer& tokenizer() const = 0;
  // Null where the model has none: then from_messages throws invalid_argument saying so.
  virtual const ChatTemplate* chat_template() const = 0;
  virtual bool takes_media() const = 0;
  // The rate at which a model that hears takes recordings (OpenedMedia::sound).
  virtual int64_t sound_rate_hz() const { return 16'000; }
  // The shape, without values, of the largest picture of at most max_tokens tokens, or of one
  // window of a recording; nullopt for a text model.
  virtual std::optional<MediaInput> largest_medium(int64_t max_tokens) const = 0;

  // The text that the template makes of the messages. Media parts leave their placeholders.
  virtual std::string render(const Json& messages, const ChatOptions& options) const = 0;
  // Messages in OpenAI's shape; `media` opens what image_url, video_url and the like refer to.
  virtual Prompt from_messages(const Json& messages,
                               const ChatOptions& options,
                               const MediaSource& media) const = 0;
  // A rendered text with one placeholder per medium, and the media in order (already opened). For
  // `verify` and completions.
  virtual Prompt from_text(std::string_view text,
                           bool add_special_tokens,
                           std::vector<OpenedMedia> media = {},
                           const PromptRules& rules = {}) const = 0;
  virtual Prompt from_ids(
      std::vector<int32_t> ids) const = 0;  // text only; placeholder ids are refused
};

}  // namespace quern

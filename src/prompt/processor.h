// SPDX-License-Identifier: Apache-2.0
// Processor: turns a model's media into what its tower takes, counts their tokens and gives
// positions. One file per media model.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "media/media_input.h"
#include "prompt/media_source.h"
#include "prompt/prompt.h"
#include "prompt/prompt_rules.h"
#include "prompt/resized_media.h"
#include "text/tokenizer/tokenizer.h"
#include "weights/checkpoint.h"

namespace quern {

// Immutable: safe from several threads at once.
class Processor {
 public:
  virtual ~Processor() = default;

  // The token that stands for one medium in a rendered text. Empty: kind not taken.
  virtual std::optional<int32_t> placeholder(MediaKind kind) const = 0;
  // The token that, repeated, stands for its encoder rows in the ids.
  virtual int32_t row_token(MediaKind kind) const { return placeholder(kind).value_or(-1); }
  // Throws data_loss where the tokens that this processor relies on are others in the tokenizer.
  virtual void check(const Tokenizer&) const {}
  // Which frames of a clip are taken, where a request asks for `asked`. Throws unsupported for what
  // this model's rule has no place for.
  virtual FrameRule frame_rule(const ProcessorOptions& asked) const = 0;
  // The rate at which this model hears recordings.
  virtual int64_t sound_rate_hz() const { return 16'000; }
  // Decoder tokens of a medium, from its size alone: cheap. Throws invalid_argument for a size that
  // the model cannot take.
  virtual int64_t count_tokens(const OpenedMedia& media, const PromptRules& rules) const = 0;
  // The frames that the model sees, at its size; the samples that it hears. Throws like
  // count_tokens.
  virtual ResizedMedia resize(const OpenedMedia& media, const PromptRules& rules) const = 0;
  // At least one piece, with values, grid, tokens and hash, of what `resize` made.
  virtual std::vector<MediaPiece> pack(const ResizedMedia& media) const = 0;
  // The shape, without values, of the largest picture of at most max_tokens tokens, or of one
  // window of a recording: for the memory plan.
  virtual MediaInput largest_medium(int64_t max_tokens) const = 0;
  // Fills positions, axes and rope_delta of a prompt whose ids (placeholders expanded) and media
  // stand.
  virtual void place(Prompt& prompt, const PromptRules& rules) const = 0;
};

// The processor of the checkpoint's architecture, from the files in `folder`; null for a text
// model. Throws unsupported for a media model that is not in the table of processor.cc, data_loss
// for files that contradict themselves.
// `options` replace what the files say.
std::unique_ptr<Processor> open_processor(const std::string& folder,
                                          const Checkpoint& checkpoint,
                                          const ProcessorOptions& options = {});

// Qwen2-VL and Qwen2.5-VL.
std::unique_ptr<Processor> open_qwen2_vl(const std::string& folder,
                                         const Config& config,
                                         const ProcessorOptions& options);

// GLM-4.1V and AutoGLM-Phone.
std::unique_ptr<Processor> open_glm4v(const std::string& folder,
                                      const Config& config,
                                      const ProcessorOptions& options);
// GLM-ASR, in both layouts of its config.
std::unique_ptr<Processor> open_glmasr(const std::string& folder,
                                       const Config& config,
                                       const ProcessorOptions& options);
// Whisper: for its memory and its rate alone, as it takes part in no conversation; see whisper.h.
std::unique_ptr<Processor> open_whisper(const std::string& folder,
                                        const Config& config,
                                        const ProcessorOptions& options);
std::unique_ptr<Processor> open_hunyuan_vl(const std::string& folder,
                                           const Config& config,
                                           const ProcessorOptions& options);

// Positions of text alone: 0, 1, 2, … on every one of `axes` axes.
void place_text(Prompt& prompt, int axes);

}  // namespace quern

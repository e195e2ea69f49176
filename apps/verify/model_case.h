// SPDX-License-Identifier: Apache-2.0
// ModelCase: a golden checkpoint opened and run, one prompt at a time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model_source.h"
#include "nn/builder.h"
#include "nn/model.h"
#include "nn/owned_ctx.h"
#include "prompt/prompt_builder.h"
#include "verify/judges.h"

namespace quern {

// What the tower made of one medium.
struct Encoded {
  MediaKind kind = MediaKind::image;
  Tensor last_hidden;  // before the merger; undefined if the model shows none
  Tensor embeds;       // [tokens, D]
};

// What the decoder made of a prompt and its greedy continuation.
struct Decoded {
  std::vector<std::vector<float>> hidden_last;  // per layer: the last position
  std::vector<float> logits;                    // [positions, V]
  // Of each layer with experts: chosen ones and their weights, [T, k].
  std::map<int, std::vector<float>> router_ids = {}, router_weights = {};
};

// What the case's reference_rules say of the model itself; those of the prompt ModelCase obeys.
ReferenceChoice reference_of(const GoldenCase& golden);

class ModelCase {
 public:
  // Opens the checkpoint; model and prompt builder are opened on first use, so that a case whose
  // model is unsupported still has its prompts judged.
  ModelCase(const GoldenCase& golden, const VerifyMode& mode);

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  // These two throw what opening throws.
  const PromptBuilder& prompts();
  const Model& model();

  // The prompt as this build makes it: text and files in, ids and media out.
  Prompt prompt_from_files(const Json& prompt);
  // The media of `prompt` with the pixels or mel frames that the case stores in their place;
  // nullopt where it stores none.
  std::optional<std::vector<MediaSpan>> stored_media(const std::string& name,
                                                     const Prompt& prompt) const;

  std::vector<Encoded> encode(const std::vector<MediaSpan>& media);
  Decoded decode(const Prompt& prompt,
                 const std::vector<MediaSpan>& media,
                 const std::vector<Encoded>& encoded,
                 const std::vector<int32_t>& positions);

  // A continuation of at most `steps` tokens: each is `pick`'s choice from its row of logits, which
  // it may edit; without one it ends.
  using Pick = FunctionRef<std::optional<int32_t>(std::span<float> row)>;
  void continue_with(const Prompt& prompt,
                     const std::vector<MediaSpan>& media,
                     const std::vector<Encoded>& encoded,
                     int steps,
                     Pick pick);
  // The arg-max continuation: each step's row of logits is shown to `on_row`, which says whether to
  // go on.
  void continue_greedily(const Prompt& prompt,
                         const std::vector<MediaSpan>& media,
                         const std::vector<Encoded>& encoded,
                         int steps,
                         FunctionRef<bool(std::span<const float> row)> on_row);

 private:
  PromptRules rules() const;
  OpenedMedia open_clip(const Json& frames) const;
  OpenedMedia open_sound(const std::string& name);

  const GoldenCase& golden_;
  Degrees degrees_;
  ResolvedModel source_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  OwnedCtx ctx_;
  std::unique_ptr<PromptBuilder> prompts_;
  std::unique_ptr<Model> model_;
};

}  // namespace quern

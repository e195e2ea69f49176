// SPDX-License-Identifier: Apache-2.0
// Speaker: what of a model that speaks stands beside its language model: voices, and the networks
// that make sound of speech tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "prompt/glm_tts.h"

namespace quern {

// A voice, as its recording gives it: opaque but for what was said in it.
class Voice {
 public:
  virtual ~Voice() = default;
  virtual const SaidPiece& said() const = 0;
};

// A piece of speech that becomes sound while its tokens come. Used by one thread at a time.
class SpeechRender {
 public:
  virtual ~SpeechRender() = default;
  // Tokens that it would take at the least before it makes sound of some, the piece's last or not.
  virtual size_t wanted() const = 0;
  // Slow. Samples that `tokens`, those behind all before, make ripe; the last ones complete the
  // piece.
  virtual std::vector<float> add(std::span<const int32_t> tokens, bool is_last) = 0;
};

struct RenderOptions {
  uint64_t seed = 0;
  bool in_blocks = false;  // sound comes before the piece is whole; it differs a little
};

// Safe to use from several threads at once.
class Speaker {
 public:
  virtual ~Speaker() = default;

  virtual const GlmTtsTokens& tokens() const = 0;
  virtual int64_t rate_hz() const = 0;
  // What is to be said, as it is read aloud: tokens of pieces that are spoken one by one. Throws
  // RequestError where nothing is left to be said.
  virtual std::vector<std::vector<int32_t>> read(const std::string& text) const = 0;
  virtual std::vector<std::string> voice_names() const = 0;
  // Slow at first. Throws RequestError{not_found} for an unknown name, naming those there are; for
  // none unless there is one voice.
  virtual std::shared_ptr<const Voice> voice(const std::string& name) = 0;
  // Slow. The voice of an encoded recording that says `transcript`. Throws RequestError.
  virtual std::shared_ptr<const Voice> listen(const std::string& recording,
                                              const std::string& transcript) = 0;
  virtual std::unique_ptr<SpeechRender> render(std::shared_ptr<const Voice> voice,
                                               const RenderOptions& options) = 0;
};

}  // namespace quern

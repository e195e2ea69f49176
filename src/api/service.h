// SPDX-License-Identifier: Apache-2.0
// Service: what the routes (and the terminal commands) need of a loaded model. The real one stands
// on PromptBuilder and Engine (engine_service.h); tests put a scripted one in its place.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/chat_request.h"
#include "api/completion_request.h"
#include "api/parsers/registry.h"
#include "api/speech/speaker.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "nn/pooling.h"
#include "prompt/media_source.h"
#include "prompt/whisper.h"
#include "sampling/grammar/grammar.h"

namespace quern {

struct ServiceInfo {
  std::vector<std::string> names;          // served names; the first is the one in answers
  std::string root;                        // what was asked to be served
  int64_t created = 0;                     // seconds since 1970
  int64_t max_model_len = 0;               // tokens of prompt and answer
  int64_t block_size = 0, num_blocks = 0;  // of the KV cache, for the metrics
  std::string kv_dtype;
  int speculative_tokens = 0;                 // of one draft
  bool sees_pictures = false, hears = false;  // besides text
  std::string tokenizer_info = "{}";          // the body of /tokenizer_info
  std::optional<Pooling> pooling = {};  // of a model that answers with vectors; else it generates
};

class Service {
 public:
  virtual ~Service() = default;

  virtual const ServiceInfo& info() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const GenerationDefaults& defaults() const = 0;
  // What answers are read with.
  virtual const AnswerDialects& dialects() const = 0;

  // Slow (template, tokenizer, media); from any thread. Throws RequestError, or an Error that is
  // the request's fault.
  virtual std::shared_ptr<const Prompt> prepare(const ChatMessages& chat) const = 0;
  virtual std::shared_ptr<const Prompt> prepare(const TextOrTokens& prompt,
                                                bool add_special_tokens) const = 0;

  // Of a model that transcribes and answers no conversations; null: this one does.
  virtual const WhisperEars* whisper() const { return nullptr; }
  // An encoded recording at that rate. Slow. Throws what MediaSource::decode throws.
  virtual Sound hear(std::string file, int64_t rate_hz) const;
  // What asks a model that hears, in a conversation, to write a recording down. Slow. Throws
  // RequestError{unsupported} where the model does not hear.
  virtual std::shared_ptr<const Prompt> prepare_dictation(std::string file) const;

  // Of a model that speaks; null: this one writes.
  virtual Speaker* speaker() const { return nullptr; }

  // Slow; from any thread but the engine's. Throws GrammarError, exhausted.
  virtual std::shared_ptr<const Grammar> compile(const GrammarSpec& spec) const = 0;

  virtual std::shared_ptr<EventStream> submit(Request request) = 0;
  virtual void cancel(const std::string& id) = 0;
  virtual EngineStats stats() const = 0;
  virtual MediaStats media_stats() const { return {}; }
  virtual bool is_healthy() const = 0;
  // While lost workers are being replaced: requests wait.
  virtual bool is_recovering() const = 0;
  // A step takes longer than it may: requests fail until it has returned.
  virtual bool is_stalled() const { return false; }
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// EngineService: the Service of a loaded model: PromptBuilder in front, Engine behind.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "api/service.h"
#include "engine/engine.h"
#include "prompt/media_source.h"
#include "prompt/prompt_builder.h"
#include "sampling/grammar/grammar_compiler.h"

namespace quern {

class EngineService final : public Service {
 public:
  // `builder` and `engine` must outlive the service. `info.names` holds at least one name.
  EngineService(ServiceInfo info,
                GenerationDefaults defaults,
                const PromptBuilder& builder,
                Engine& engine,
                MediaSource media = MediaSource(),
                GrammarLimits grammars = {});

  const ServiceInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return builder_.tokenizer(); }
  const GenerationDefaults& defaults() const override { return defaults_; }
  const AnswerDialects& dialects() const override { return dialects_; }
  // Names as --tool-call-parser and --reasoning-parser take them; "auto" looks at the chat
  // template. Before requests come. Throws what AnswerDialects::choose throws.
  void choose_parsers(const std::string& tools, const std::string& reasoning);

  std::shared_ptr<const Prompt> prepare(const ChatMessages& chat) const override;
  std::shared_ptr<const Prompt> prepare(const TextOrTokens& prompt,
                                        bool add_special_tokens) const override;

  // Before requests come: the model transcribes.
  void set_whisper(std::unique_ptr<const WhisperEars> ears) { whisper_ = std::move(ears); }
  const WhisperEars* whisper() const override { return whisper_.get(); }
  Sound hear(std::string file, int64_t rate_hz) const override;
  // Before requests come: the model speaks.
  void set_speaker(std::unique_ptr<Speaker> speaker) { speaker_ = std::move(speaker); }
  Speaker* speaker() const override { return speaker_.get(); }
  std::shared_ptr<const Prompt> prepare_dictation(std::string file) const override;

  std::shared_ptr<const Grammar> compile(const GrammarSpec& spec) const override;

  std::shared_ptr<EventStream> submit(Request request) override {
    return engine_.submit(std::move(request));
  }
  void cancel(const std::string& id) override { engine_.cancel(id); }
  EngineStats stats() const override { return engine_.stats(); }
  MediaStats media_stats() const override { return media_.stats(); }
  bool is_healthy() const override { return engine_.is_healthy(); }
  bool is_recovering() const override { return engine_.is_recovering(); }
  bool is_stalled() const override { return engine_.is_stalled(); }

 private:
  void refuse_conversation(const char* field) const;
  void check_tools(const ChatMessages& chat) const;
  Prompt from_messages(const ChatMessages& chat) const;

  ServiceInfo info_;
  GenerationDefaults defaults_;
  AnswerDialects dialects_;
  const PromptBuilder& builder_;
  Engine& engine_;
  MediaSource media_;
  std::unique_ptr<const WhisperEars> whisper_;  // null: the model answers conversations
  std::unique_ptr<Speaker> speaker_;            // null: likewise
  GrammarLimits grammar_limits_;
  mutable std::once_flag compiler_made_;
  mutable std::unique_ptr<GrammarCompiler> compiler_;  // made by the first constraint
};

// A model's generation_config.json and config.json beside the weights, where there are such files,
// or what a .gguf file says in their place, and the tokenizer's end-of-sequence id. Throws
// data_loss for a wrong type.
GenerationDefaults read_generation_defaults(const std::string& model_path,
                                            const Tokenizer& tokenizer);

}  // namespace quern

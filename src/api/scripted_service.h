// SPDX-License-Identifier: Apache-2.0
// ScriptedService: a Service without a model, for tests. Token id b is byte b; 256 ends an answer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "api/service.h"
#include "sampling/grammar/grammar_compiler.h"

namespace quern {

inline constexpr int32_t kScriptedEos = 256;

// A tokenizer whose ids are bytes, by way of the printable alphabet that byte-level vocabularies
// are written in.
Tokenizer make_byte_tokenizer();

// What the test does with a request: pushes events now or later, or throws.
using Script =
    std::function<void(const Request& request, const std::shared_ptr<EventStream>& stream)>;

// The bytes of `text` as tokens, then the end-of-sequence token, for each choice; max_tokens cuts
// it off. Closes the stream.
void push_reply(const Request& request, EventStream& stream, std::string_view text);
Script reply(std::string text);
// Of a service that pools: the vector that `make` makes of a prompt's ids.
Script pooled_reply(std::function<std::vector<float>(const std::vector<int32_t>& ids)> make);

class ScriptedService final : public Service {
 public:
  ScriptedService();

  void set_script(Script script);
  void set_healthy(bool is_healthy) { is_healthy_ = is_healthy; }
  void set_stalled(bool is_stalled) { is_stalled_ = is_stalled; }
  void set_recovering(bool is_recovering) { is_recovering_ = is_recovering; }
  void set_stats(const EngineStats& stats);
  // Wait until that many requests were submitted, or cancelled; false after ten seconds.
  bool await_submit(size_t count = 1);
  bool await_cancel(size_t count = 1);
  std::vector<Request> requests() const;
  size_t cancelled() const;

  const ServiceInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const GenerationDefaults& defaults() const override { return defaults_; }
  const AnswerDialects& dialects() const override { return dialects_; }
  // Before requests come.
  void set_parsers(std::string_view tools, std::string_view reasoning) {
    dialects_ = AnswerDialects::choose(tools, reasoning, {}, tokenizer_);
  }
  // Before a server is made of it.
  void set_pooling(Pooling pooling) { info_.pooling = std::move(pooling); }
  void set_speaker(std::unique_ptr<Speaker> speaker) { speaker_ = std::move(speaker); }
  Speaker* speaker() const override { return speaker_.get(); }
  // The texts of all messages, one behind the other.
  std::shared_ptr<const Prompt> prepare(const ChatMessages& chat) const override;
  std::shared_ptr<const Prompt> prepare(const TextOrTokens& prompt,
                                        bool add_special_tokens) const override;
  std::shared_ptr<const Grammar> compile(const GrammarSpec& spec) const override {
    return compiler_.compile(spec);
  }
  std::shared_ptr<EventStream> submit(Request request) override;
  void cancel(const std::string& id) override;
  EngineStats stats() const override;
  bool is_healthy() const override { return is_healthy_; }
  bool is_recovering() const override { return is_recovering_; }
  bool is_stalled() const override { return is_stalled_; }

 private:
  ServiceInfo info_;
  GenerationDefaults defaults_;
  AnswerDialects dialects_;
  std::unique_ptr<Speaker> speaker_;
  Tokenizer tokenizer_;
  GrammarCompiler compiler_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Script script_ = reply("Paris");
  std::vector<Request> requests_;
  std::set<std::string> cancelled_;
  EngineStats stats_;
  std::atomic<bool> is_healthy_ = true, is_recovering_ = false, is_stalled_ = false;
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// ScriptedService: a Service without a model, for tests. Token id b is byte b; ids from 256 on are special.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "api/api_error.h"
#include "api/service.h"

namespace quern {

inline constexpr int32_t kScriptedEos = 256;

// A tokenizer whose ids are bytes, by way of the printable alphabet that byte-level vocabularies are written in.
inline Tokenizer make_byte_tokenizer() {
  Json vocabulary = Json::object();
  int moved = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int point = is_printable ? byte : 256 + moved++;
    const std::string name = point < 128 ? std::string(1, static_cast<char>(point))
                                         : std::string{static_cast<char>(0xC0 | (point >> 6)), static_cast<char>(0x80 | (point & 63))};
    vocabulary[name] = byte;
  }
  Json eos = {{"id", kScriptedEos}, {"content", "<eos>"}, {"special", true}, {"normalized", false},
              {"single_word", false}, {"lstrip", false}, {"rstrip", false}};
  const Json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  Json file = {{"version", "1.0"}, {"normalizer", nullptr}, {"pre_tokenizer", level}, {"post_processor", nullptr}, {"decoder", level}};
  file["added_tokens"] = Json::array({std::move(eos)});
  file["model"] = {{"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", Json::array()}};
  return Tokenizer::from_json(file.dump());
}

// What the test does with a request: pushes events now or later, or throws.
using Script = std::function<void(const Request& request, const std::shared_ptr<EventStream>& stream)>;

// The bytes of `text` as tokens, then the end-of-sequence token; `max_tokens` cuts it off.
inline void push_reply(const Request& request, EventStream& stream, std::string_view text) {
  for (int choice = 0; choice < request.n; ++choice) {
    const int64_t limit = request.params.max_tokens;
    for (size_t i = 0; i <= text.size() && static_cast<int64_t>(i) < limit; ++i) {
      const bool is_last = i == text.size();
      TokenEvent event;
      event.choice = choice;
      event.token = is_last ? kScriptedEos : static_cast<unsigned char>(text[i]);
      if (request.params.logprobs >= 0) event.logprobs.push_back({event.token, -0.5f});
      for (int j = 0; j < request.params.logprobs; ++j) event.logprobs.push_back({j == 0 ? event.token : 64 + j, -0.5f * static_cast<float>(j + 1)});
      if (static_cast<int64_t>(i) + 1 == limit) event.finish = FinishReason::length;
      if (is_last) event.finish = FinishReason::stop, event.stop_token = kScriptedEos;
      stream.push(std::move(event));
    }
  }
  stream.close();
}

inline Script reply(std::string text) {
  return [text = std::move(text)](const Request& request, const std::shared_ptr<EventStream>& stream) {
    push_reply(request, *stream, text);
  };
}

class ScriptedService final : public Service {
 public:
  ScriptedService() : tokenizer_(make_byte_tokenizer()) {
    info_ = {.names = {"scripted", "alias"}, .root = "/models/scripted", .created = 1700000000, .max_model_len = 512,
             .block_size = 16, .num_blocks = 64, .kv_dtype = "float32"};
    defaults_.eos_token_ids = {kScriptedEos};
  }

  void set_script(Script script) {
    const std::lock_guard lock(mutex_);
    script_ = std::move(script);
  }
  void set_healthy(bool is_healthy) { is_healthy_ = is_healthy; }
  void set_stats(const EngineStats& stats) {
    const std::lock_guard lock(mutex_);
    stats_ = stats;
  }
  // Waits until a request was cancelled; false after ten seconds.
  bool await_cancel(size_t count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return cancelled_.size() >= count; });
  }
  bool await_submit(size_t count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return requests_.size() >= count; });
  }
  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  size_t cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_.size();
  }

  const ServiceInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const GenerationDefaults& defaults() const override { return defaults_; }

  // The texts of all messages, one behind the other.
  std::shared_ptr<const Prompt> prepare(const ChatMessages& chat) const override {
    std::string text;
    for (const Json& message : *chat.messages)
      if (message.contains("content") && message["content"].is_string()) text += message["content"].get<std::string>();
    return prepare(text, false);
  }
  std::shared_ptr<const Prompt> prepare(const TextOrTokens& prompt, bool) const override {
    auto out = std::make_shared<Prompt>();
    if (const auto* text = std::get_if<std::string>(&prompt))
      out->text = *text, out->ids = tokenizer_.encode(*text);
    else
      out->ids = std::get<TokenIds>(prompt);
    return out;
  }

  std::shared_ptr<EventStream> submit(Request request) override {
    auto stream = std::make_shared<EventStream>();
    Script script;
    {
      const std::lock_guard lock(mutex_);
      script = script_;
      requests_.push_back(request);
    }
    changed_.notify_all();
    script(request, stream);
    return stream;
  }
  void cancel(const std::string& id) override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_.insert(id);
    }
    changed_.notify_all();
  }
  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  bool is_healthy() const override { return is_healthy_; }

 private:
  ServiceInfo info_;
  GenerationDefaults defaults_;
  Tokenizer tokenizer_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Script script_ = reply("Paris");
  std::vector<Request> requests_;
  std::set<std::string> cancelled_;
  EngineStats stats_;
  std::atomic<bool> is_healthy_ = true;
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/scripted_service.h"

#include <chrono>
#include <nlohmann/json.hpp>

namespace quern {

Tokenizer make_byte_tokenizer() {
  Json vocabulary = Json::object();
  int moved = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int point = is_printable ? byte : 256 + moved++;
    const std::string wide = {static_cast<char>(0xC0 | (point >> 6)),
                              static_cast<char>(0x80 | (point & 63))};
    vocabulary[point < 128 ? std::string(1, static_cast<char>(point)) : wide] = byte;
  }
  Json eos = {{"id", kScriptedEos},
              {"content", "<eos>"},
              {"special", true},
              {"normalized", false},
              {"single_word", false},
              {"lstrip", false},
              {"rstrip", false}};
  const Json level = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", false}};
  Json file = {{"version", "1.0"},
               {"normalizer", nullptr},
               {"pre_tokenizer", level},
               {"post_processor", nullptr},
               {"decoder", level}};
  file["added_tokens"] = Json::array({std::move(eos)});
  file["model"] = {{"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", Json::array()}};
  return Tokenizer::from_json(file.dump());
}

namespace {

// Each token of the prompt is second to the byte behind it.
void push_scores(const Request& request, EventStream& stream) {
  TokenEvent event;
  const auto& ids = request.prompt->ids;
  for (size_t i = 1; i < ids.size(); ++i) {
    PromptLogprob& entry = event.prompt_logprobs.emplace_back();
    entry.logprobs.push_back({ids[i], -1.5f});
    entry.rank = 2;
    for (int j = 0; j < request.params.prompt_logprobs; ++j)
      entry.logprobs.push_back({j == 1 ? ids[i] : ids[i] + 1 + j, -0.5f - static_cast<float>(j)});
  }
  stream.push(std::move(event));
}

void push_end(int choice, EventStream& stream) {
  TokenEvent event;
  event.choice = choice;
  event.finish = FinishReason::length;
  stream.push(std::move(event));
}

}  // namespace

void push_reply(const Request& request, EventStream& stream, std::string_view text) {
  if (request.params.prompt_logprobs >= 0) push_scores(request, stream);
  for (int choice = 0; choice < request.n; ++choice) {
    const int64_t limit = request.params.max_tokens;
    if (limit == 0) push_end(choice, stream);
    for (size_t i = 0; i <= text.size() && static_cast<int64_t>(i) < limit; ++i) {
      const bool is_last = i == text.size();
      TokenEvent event;
      event.choice = choice;
      event.token = is_last ? kScriptedEos : static_cast<unsigned char>(text[i]);
      if (request.params.logprobs >= 0) event.logprobs.push_back({event.token, -0.5f});
      for (int j = 0; j < request.params.logprobs; ++j)
        event.logprobs.push_back(
            {j == 0 ? event.token : 64 + j, -0.5f * static_cast<float>(j + 1)});
      if (static_cast<int64_t>(i) + 1 == limit) event.finish = FinishReason::length;
      if (is_last) event.finish = FinishReason::stop, event.stop_token = kScriptedEos;
      stream.push(std::move(event));
    }
  }
  stream.close();
}

Script reply(std::string text) {
  return
      [text = std::move(text)](const Request& request, const std::shared_ptr<EventStream>& stream) {
        push_reply(request, *stream, text);
      };
}

Script pooled_reply(std::function<std::vector<float>(const std::vector<int32_t>& ids)> make) {
  return
      [make = std::move(make)](const Request& request, const std::shared_ptr<EventStream>& stream) {
        TokenEvent event;
        event.pooled = make(request.prompt->ids);
        event.finish = FinishReason::stop;
        stream->push(std::move(event));
        stream->close();
      };
}

ScriptedService::ScriptedService()
    : tokenizer_(make_byte_tokenizer()), compiler_(tokenizer_, {kScriptedEos}) {
  info_ = {.names = {"scripted", "alias"},
           .root = "/models/scripted",
           .created = 1700000000,
           .max_model_len = 512,
           .block_size = 16,
           .num_blocks = 64,
           .kv_dtype = "float32",
           .speculative_tokens = 4};
  defaults_.eos_token_ids = {kScriptedEos};
}

void ScriptedService::set_script(Script script) {
  const std::lock_guard lock(mutex_);
  script_ = std::move(script);
}

void ScriptedService::set_stats(const EngineStats& stats) {
  const std::lock_guard lock(mutex_);
  stats_ = stats;
}

bool ScriptedService::await_submit(size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(
      lock, std::chrono::seconds(10), [&] { return requests_.size() >= count; });
}

bool ScriptedService::await_cancel(size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(
      lock, std::chrono::seconds(10), [&] { return cancelled_.size() >= count; });
}

std::vector<Request> ScriptedService::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

size_t ScriptedService::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_.size();
}

std::shared_ptr<const Prompt> ScriptedService::prepare(const ChatMessages& chat) const {
  std::string text;
  for (const Json& message : *chat.messages)
    if (message.contains("content") && message["content"].is_string())
      text += message["content"].get<std::string>();
  return prepare(text, false);
}

std::shared_ptr<const Prompt> ScriptedService::prepare(const TextOrTokens& prompt, bool) const {
  auto out = std::make_shared<Prompt>();
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    out->text = *text;
    out->ids = tokenizer_.encode(*text);
  } else {
    out->ids = std::get<TokenIds>(prompt);
  }
  return out;
}

std::shared_ptr<EventStream> ScriptedService::submit(Request request) {
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

void ScriptedService::cancel(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.insert(id);
  }
  changed_.notify_all();
}

EngineStats ScriptedService::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace quern

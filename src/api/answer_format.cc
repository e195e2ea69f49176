// SPDX-License-Identifier: Apache-2.0
#include "api/answer_format.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace quern {
namespace {

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

// What both OpenAI dialects share.
class OpenAiFormat : public AnswerFormat {
 public:
  OpenAiFormat(AnswerHeader header, AnswerParts parts)
      : header_(std::move(header)), parts_(std::move(parts)) {}

  void failure(const ApiError& error, ServerEvents& out) override {
    out.push_back({"", to_json(error)});
    out.push_back({"", kDone});
  }

 protected:
  static constexpr const char* kDone = "[DONE]";

  Json envelope(std::string_view object) const {
    return {{"id", header_.id},
            {"object", object},
            {"created", header_.created},
            {"model", header_.model}};
  }

  size_t prompt_of(int index) const {
    return static_cast<size_t>(index / parts_.choices_per_prompt);
  }

  std::string shown(const ScoredToken& token) const {
    return parts_.tokens_as_ids ? format("token_id:{}", token.id) : token.text;
  }

  void add_ending(Json& choice, const TextDelta& answer) const {
    const bool is_call = answer.called_tools && answer.finish == FinishReason::stop;
    const std::string_view finish = is_call ? "tool_calls" : name_of(answer.finish);
    choice["finish_reason"] = finish.empty() ? Json(nullptr) : Json(finish);
    Json& reason = choice["stop_reason"] = nullptr;
    if (const auto* id = std::get_if<int32_t>(&answer.stop_reason)) reason = *id;
    if (const auto* text = std::get_if<std::string>(&answer.stop_reason)) reason = *text;
    if (parts_.token_ids) choice["token_ids"] = answer.tokens;
  }

  ServerEvent chunk_with(std::string_view object, Json choice, const Usage* usage) const {
    Json body = envelope(object);
    body["choices"] = Json::array({std::move(choice)});
    if (usage) body["usage"] = usage_json(*usage);
    return {"", json_text(body)};
  }

  ServerEvent usage_chunk(std::string_view object, const Usage& usage) const {
    Json body = envelope(object);
    body["choices"] = Json::array();
    body["usage"] = usage_json(usage);
    return {"", json_text(body)};
  }

  void add_prompt_logprobs(Json& to, const TextDelta& answer) const {
    if (parts_.prompt_logprobs >= 0 && answer.prompt)
      to["prompt_logprobs"] = prompt_logprobs_json(*answer.prompt, parts_.prompt_logprobs);
  }

  const AnswerHeader header_;
  const AnswerParts parts_;
};

class ChatFormat final : public OpenAiFormat {
 public:
  using OpenAiFormat::OpenAiFormat;

  std::string whole(std::span<const TextDelta> answers, const Usage& usage) override {
    Json body = envelope("chat.completion");
    Json& choices = body["choices"] = Json::array();
    for (size_t i = 0; i < answers.size(); ++i) {
      Json choice = {
          {"index", i}, {"message", message_of(answers[i])}, {"logprobs", logprobs_of(answers[i])}};
      add_ending(choice, answers[i]);
      choices.push_back(std::move(choice));
    }
    body["usage"] = usage_json(usage);
    if (!answers.empty()) add_prompt_logprobs(body, answers.front());
    if (parts_.token_ids) body["prompt_token_ids"] = parts_.prompt_ids.at(0);
    return json_text(body);
  }

  void opening(int index, const Usage* usage, ServerEvents& out) override {
    Json choice = {{"index", index},
                   {"delta", {{"role", "assistant"}, {"content", ""}}},
                   {"logprobs", nullptr},
                   {"finish_reason", nullptr}};
    if (parts_.token_ids) choice["prompt_token_ids"] = parts_.prompt_ids.at(0);
    out.push_back(chunk_with(kChunk, std::move(choice), usage));
  }

  void chunk(int index, const TextDelta& delta, const Usage* usage, ServerEvents& out) override {
    Json content = Json::object();
    if (!delta.reasoning.empty()) add_reasoning(content, delta.reasoning);
    if (!delta.text.empty()) content["content"] = delta.text;
    if (!delta.tool_calls.empty()) content["tool_calls"] = calls_of(delta, true);
    Json choice = {{"index", index}, {"delta", std::move(content)}, {"logprobs", nullptr}};
    if (!delta.scores.empty()) choice["logprobs"] = logprobs_of(delta);
    add_ending(choice, delta);
    out.push_back(chunk_with(kChunk, std::move(choice), usage));
  }

  void closing(const Usage& usage, bool shows_usage, ServerEvents& out) override {
    if (shows_usage) out.push_back(usage_chunk(kChunk, usage));
    out.push_back({"", kDone});
  }

 private:
  static constexpr std::string_view kChunk = "chat.completion.chunk";

  // Clients know it under one name or the other.
  static void add_reasoning(Json& message, const Json& reasoning) {
    message["reasoning"] = reasoning;
    message["reasoning_content"] = reasoning;
  }

  // In pieces each has its index, and only the first one of a call says what it calls.
  static Json calls_of(const TextDelta& answer, bool is_piece) {
    Json calls = Json::array();
    for (const ToolCallDelta& call : answer.tool_calls) {
      Json out = Json::object();
      if (is_piece) out["index"] = call.index;
      if (!call.id.empty()) out["id"] = call.id;
      if (!call.name.empty()) out["type"] = "function";
      Json& function = out["function"] = Json::object();
      if (!call.name.empty()) function["name"] = call.name;
      function["arguments"] = call.arguments;
      calls.push_back(std::move(out));
    }
    return calls;
  }

  Json message_of(const TextDelta& answer) const {
    Json message = {{"role", "assistant"}, {"content", answer.text}, {"refusal", nullptr}};
    // An answer that is all calls or reasoning has no content, rather than an empty one.
    if (answer.text.empty() && !answer.shows_nothing()) message["content"] = nullptr;
    if (parts_.reasoning)
      add_reasoning(message, answer.reasoning.empty() ? Json(nullptr) : Json(answer.reasoning));
    if (!answer.tool_calls.empty()) message["tool_calls"] = calls_of(answer, false);
    return message;
  }

  Json scored(const ScoredToken& token) const {
    Json bytes = Json::array();
    for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
    return {{"token", shown(token)}, {"logprob", token.logprob}, {"bytes", std::move(bytes)}};
  }

  Json logprobs_of(const TextDelta& answer) const {
    if (!parts_.logprobs) return nullptr;
    Json content = Json::array();
    for (const TokenScores& scores : answer.scores) {
      Json entry = scored(scores.chosen);
      Json top = Json::array();
      for (const ScoredToken& token : scores.top) top.push_back(scored(token));
      entry["top_logprobs"] = std::move(top);
      content.push_back(std::move(entry));
    }
    return Json{{"content", std::move(content)}};
  }
};

class CompletionFormat final : public OpenAiFormat {
 public:
  using OpenAiFormat::OpenAiFormat;

  std::string whole(std::span<const TextDelta> answers, const Usage& usage) override {
    Json body = envelope(kObject);
    Json& choices = body["choices"] = Json::array();
    for (size_t i = 0; i < answers.size(); ++i) {
      const size_t prompt = prompt_of(static_cast<int>(i));
      Json choice = {{"index", i},
                     {"text", echo_of(prompt) + answers[i].text},
                     {"logprobs", logprobs_of(answers[i], prompt)}};
      add_ending(choice, answers[i]);
      add_prompt_logprobs(choice, answers[i]);
      if (parts_.token_ids) choice["prompt_token_ids"] = parts_.prompt_ids.at(prompt);
      choices.push_back(std::move(choice));
    }
    body["usage"] = usage_json(usage);
    return json_text(body);
  }

  // A choice begins with what is known of its prompt, if that was asked for. A text with
  // log-probabilities comes with these, in the first chunk.
  void opening(int index, const Usage* usage, ServerEvents& out) override {
    const bool has_echo = !parts_.echo.empty() && parts_.echo_logprobs < 0;
    if (!has_echo && !parts_.token_ids) return;
    const size_t prompt = prompt_of(index);
    Json choice = {{"index", index},
                   {"text", has_echo ? echo_of(prompt) : ""},
                   {"logprobs", nullptr},
                   {"finish_reason", nullptr}};
    if (parts_.token_ids) choice["prompt_token_ids"] = parts_.prompt_ids.at(prompt);
    out.push_back(chunk_with(kObject, std::move(choice), usage));
  }

  void chunk(int index, const TextDelta& delta, const Usage* usage, ServerEvents& out) override {
    const size_t prompt = prompt_of(index);
    const bool has_echo = parts_.echo_logprobs >= 0 && delta.prompt;
    Json choice = {{"index", index},
                   {"text", has_echo ? echo_of(prompt) + delta.text : delta.text},
                   {"logprobs", nullptr}};
    if (has_echo || !delta.scores.empty()) choice["logprobs"] = logprobs_of(delta, prompt);
    add_ending(choice, delta);
    out.push_back(chunk_with(kObject, std::move(choice), usage));
  }

  void closing(const Usage& usage, bool shows_usage, ServerEvents& out) override {
    if (shows_usage) out.push_back(usage_chunk(kObject, usage));
    out.push_back({"", kDone});
  }

 private:
  static constexpr std::string_view kObject = "text_completion";

  std::string echo_of(size_t prompt) const {
    return parts_.echo.empty() ? "" : parts_.echo.at(prompt);
  }

  Json logprobs_of(const TextDelta& answer, size_t prompt) const {
    if (!parts_.logprobs) return nullptr;
    Json out = Json::object();
    for (const char* list : {"text_offset", "token_logprobs", "tokens", "top_logprobs"})
      out[list] = Json::array();
    if (parts_.echo_logprobs >= 0 && answer.prompt)
      for (const TokenScores& entry : echoed_scores(*answer.prompt, parts_.echo_logprobs))
        add_scores(out, entry, 0);
    const int64_t begin = character_count(echo_of(prompt));
    for (const TokenScores& entry : answer.scores) add_scores(out, entry, begin);
    return out;
  }

  void add_scores(Json& out, const TokenScores& entry, int64_t begin) const {
    out["text_offset"].push_back(begin + entry.text_offset);
    out["tokens"].push_back(shown(entry.chosen));
    if (std::isnan(entry.chosen.logprob)) {  // the first token of a prompt
      out["token_logprobs"].push_back(nullptr);
      out["top_logprobs"].push_back(nullptr);
      return;
    }
    out["token_logprobs"].push_back(entry.chosen.logprob);
    Json top = Json::object();
    top[shown(entry.chosen)] = entry.chosen.logprob;
    for (const ScoredToken& token : entry.top) top[shown(token)] = token.logprob;
    out["top_logprobs"].push_back(std::move(top));
  }
};

}  // namespace

std::unique_ptr<AnswerFormat> chat_format(AnswerHeader header, AnswerParts parts) {
  return std::make_unique<ChatFormat>(std::move(header), std::move(parts));
}

std::unique_ptr<AnswerFormat> completion_format(AnswerHeader header, AnswerParts parts) {
  return std::make_unique<CompletionFormat>(std::move(header), std::move(parts));
}

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "abort";
    case FinishReason::error:
      return "error";
  }
  return "";
}

bool has_failed(const TextDelta& answer) {
  return answer.finish == FinishReason::error || answer.finish == FinishReason::cancelled;
}

ApiError failure_of(const TextDelta& answer) {
  if (answer.finish == FinishReason::cancelled)
    return make_api_error(
        503,
        answer.error.empty() ? "the server is stopping and ended this answer" : answer.error,
        "cancelled");
  // Not the requester's doing once it was accepted: 503, where a full queue is 429.
  const int status =
      answer.error_code == ErrorCode::exhausted ? 503 : http_status_of(answer.error_code);
  return make_api_error(
      status,
      answer.error,
      answer.error_reason.empty() ? std::string(name_of(answer.error_code)) : answer.error_reason);
}

}  // namespace quern

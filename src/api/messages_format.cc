// SPDX-License-Identifier: Apache-2.0
#include "api/messages_format.h"

#include <nlohmann/json.hpp>

#include "api/answer_blocks.h"
#include "api/translated_chat.h"
#include "base/json.h"

namespace quern {
namespace {

Json usage_json(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
          {"output_tokens", usage.completion_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_tokens}};
}

// What stands for arguments that are no object, so that the client can show the model its mistake.
Json input_of(const std::string& arguments) {
  Json value;
  if (reads_as_object(arguments, value)) return value;
  Json wrapped = Json::object();
  wrapped["INVALID_JSON"] = arguments;
  return wrapped;
}

Json content_of(const AnswerBlock& block) {
  switch (block.kind) {
    case BlockKind::reasoning:
      return {{"type", "thinking"}, {"thinking", block.text}, {"signature", ""}};
    case BlockKind::text:
      return {{"type", "text"}, {"text", block.text}};
    case BlockKind::tool_call:
      return {{"type", "tool_use"},
              {"id", block.call},
              {"name", block.name},
              {"input", input_of(block.text)}};
  }
  return nullptr;
}

// A block as it opens: as it will be, but empty.
Json opening_of(const AnswerBlock& block) {
  AnswerBlock empty = block;
  empty.text.clear();
  return content_of(empty);
}

Json delta_of(BlockKind kind, const std::string& piece) {
  switch (kind) {
    case BlockKind::reasoning:
      return {{"type", "thinking_delta"}, {"thinking", piece}};
    case BlockKind::text:
      return {{"type", "text_delta"}, {"text", piece}};
    case BlockKind::tool_call:
      return {{"type", "input_json_delta"}, {"partial_json", piece}};
  }
  return nullptr;
}

class MessagesFormat final : public AnswerFormat {
 public:
  explicit MessagesFormat(AnswerHeader header) : header_(std::move(header)) {}

  std::string whole(std::span<const TextDelta> answers, const Usage& usage) override {
    take(answers[0]);
    Json message = message_with(usage);
    for (const AnswerBlock& block : blocks_.blocks())
      message["content"].push_back(content_of(block));
    message.update(ending());
    return json_text(message);
  }

  std::string error_body(const ApiError& error) override { return messages_error(error); }

  void beginning(const Usage& usage, ServerEvents& out) override {
    Json event = {{"type", "message_start"}};
    event["message"] = message_with(usage);
    send(event, out);
    send({{"type", "ping"}}, out);
  }

  void opening(int /*index*/, const Usage* /*usage*/, ServerEvents& /*out*/) override {}

  void chunk(int /*index*/,
             const TextDelta& delta,
             const Usage* /*usage*/,
             ServerEvents& out) override {
    for (const BlockStep& step : take(delta)) {
      const AnswerBlock& block = blocks_.at(step.index);
      if (step.what == BlockStep::What::open)
        send({{"type", "content_block_start"},
              {"index", step.index},
              {"content_block", opening_of(block)}},
             out);
      else if (step.what == BlockStep::What::add)
        send({{"type", "content_block_delta"},
              {"index", step.index},
              {"delta", delta_of(block.kind, step.piece)}},
             out);
      else
        send({{"type", "content_block_stop"}, {"index", step.index}}, out);
    }
  }

  void closing(const Usage& usage, bool /*shows_usage*/, ServerEvents& out) override {
    send({{"type", "message_delta"}, {"delta", ending()}, {"usage", usage_json(usage)}}, out);
    send({{"type", "message_stop"}}, out);
  }

  void failure(const ApiError& error, ServerEvents& out) override {
    out.push_back({"error", messages_error(error)});
  }

 private:
  static void send(const Json& event, ServerEvents& out) {
    out.push_back({event["type"].get<std::string>(), json_text(event)});
  }

  Json message_with(const Usage& usage) const {
    Json message = {
        {"id", header_.id}, {"type", "message"}, {"role", "assistant"}, {"model", header_.model}};
    message["content"] = Json::array();
    message["stop_reason"] = nullptr;
    message["stop_sequence"] = nullptr;
    message["usage"] = usage_json(usage);
    return message;
  }

  std::vector<BlockStep> take(const TextDelta& delta) {
    if (delta.finish != FinishReason::none) {
      finish_ = delta.finish;
      if (const auto* text = std::get_if<std::string>(&delta.stop_reason)) stop_ = *text;
    }
    return blocks_.push(delta);
  }

  Json ending() const {
    Json out = Json::object();
    const bool has_calls = blocks_.has_tool_calls();
    out["stop_reason"] = finish_ == FinishReason::length ? "max_tokens"
                         : stop_                         ? "stop_sequence"
                         : has_calls                     ? "tool_use"
                                                         : "end_turn";
    out["stop_sequence"] = stop_ ? Json(*stop_) : Json(nullptr);
    return out;
  }

  const AnswerHeader header_;
  AnswerBlocks blocks_;
  FinishReason finish_ = FinishReason::none;
  std::optional<std::string> stop_;  // the stop sequence that was met
};

std::string_view messages_error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

std::unique_ptr<AnswerFormat> messages_format(AnswerHeader header) {
  return std::make_unique<MessagesFormat>(std::move(header));
}

std::string messages_error(const ApiError& error) {
  Json body = {{"type", "error"}};
  body["error"] = {{"type", messages_error_type(error.status)}, {"message", error.message}};
  return json_text(body);
}

std::string count_tokens_response(int64_t input_tokens) {
  Json body = Json::object();
  body["input_tokens"] = input_tokens;
  return json_text(body);
}

}  // namespace quern

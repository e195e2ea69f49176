// SPDX-License-Identifier: Apache-2.0
#include "api/responses_format.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "api/answer_blocks.h"
#include "api/random_id.h"
#include "base/json.h"

namespace quern {
namespace {

Json usage_json(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"output_tokens", usage.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", 0}}},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

Json scored(const ScoredToken& token) {
  Json bytes = Json::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", token.text}, {"logprob", token.logprob}, {"bytes", std::move(bytes)}};
}

Json logprobs_of(const std::vector<TokenScores>& scores) {
  Json out = Json::array();
  for (const TokenScores& entry : scores) {
    Json token = scored(entry.chosen);
    Json top = Json::array();
    for (const ScoredToken& other : entry.top) top.push_back(scored(other));
    token["top_logprobs"] = std::move(top);
    out.push_back(std::move(token));
  }
  return out;
}

// The part of a message or reasoning item that holds the text.
Json part_of(const AnswerBlock& block) {
  if (block.kind == BlockKind::reasoning) return {{"type", "reasoning_text"}, {"text", block.text}};
  Json part = {{"type", "output_text"}, {"text", block.text}};
  part["annotations"] = Json::array();
  part["logprobs"] = logprobs_of(block.scores);
  return part;
}

Json item_of(const AnswerBlock& block, const std::string& id, const char* status) {
  Json item = {{"id", id}};
  switch (block.kind) {
    case BlockKind::reasoning:
      item["type"] = "reasoning";
      item["summary"] = Json::array();
      item["content"] = Json::array({part_of(block)});
      break;
    case BlockKind::text:
      item["type"] = "message";
      item["role"] = "assistant";
      item["content"] = Json::array({part_of(block)});
      break;
    case BlockKind::tool_call:
      item["type"] = "function_call";
      item["call_id"] = block.call;
      item["name"] = block.name;
      item["arguments"] = block.text;
      break;
  }
  item["status"] = status;
  return item;
}

const char* id_prefix(BlockKind kind) {
  switch (kind) {
    case BlockKind::reasoning:
      return "rs_";
    case BlockKind::text:
      return "msg_";
    case BlockKind::tool_call:
      return "fc_";
  }
  return "";
}

class ResponsesFormat final : public AnswerFormat {
 public:
  explicit ResponsesFormat(ResponseSheet sheet) : sheet_(std::move(sheet)) {}

  std::string whole(std::span<const TextDelta> answers, const Usage& usage) override {
    take(answers[0]);
    return keep(ended_response(usage));
  }

  void beginning(const Usage& /*usage*/, ServerEvents& out) override {
    const Json response = response_with("in_progress");
    send("response.created", {{"response", response}}, out);
    send("response.in_progress", {{"response", response}}, out);
  }

  void opening(int /*index*/, const Usage* /*usage*/, ServerEvents& /*out*/) override {}

  void chunk(int /*index*/,
             const TextDelta& delta,
             const Usage* /*usage*/,
             ServerEvents& out) override {
    for (const BlockStep& step : take(delta)) {
      switch (step.what) {
        case BlockStep::What::open:
          open(step.index, out);
          break;
        case BlockStep::What::add:
          add(step, out);
          break;
        case BlockStep::What::close:
          close(step.index, out);
          break;
      }
    }
  }

  void closing(const Usage& usage, bool /*shows_usage*/, ServerEvents& out) override {
    const Json response = ended_response(usage);
    keep(response);
    send("response." + response["status"].get<std::string>(), {{"response", response}}, out);
  }

  void failure(const ApiError& error, ServerEvents& out) override {
    Json response = response_with("failed");
    response["error"] = {{"code", error.status == 429 ? "rate_limit_exceeded" : "server_error"},
                         {"message", error.message}};
    for (size_t i = 0; i < ids_.size(); ++i) response["output"].push_back(item(i, "incomplete"));
    send("response.failed", {{"response", response}}, out);
  }

 private:
  void send(const std::string& type, Json fields, ServerEvents& out) {
    Json event = {{"type", type}, {"sequence_number", sequence_++}};
    event.update(fields);
    out.push_back({type, json_text(event)});
  }

  // An event about the text of a block.
  void send_part(const std::string& type, size_t index, Json fields, ServerEvents& out) {
    Json place = {{"item_id", ids_[index]}, {"output_index", index}};
    if (blocks_.at(index).kind != BlockKind::tool_call) place["content_index"] = 0;
    place.update(fields);
    send(type, std::move(place), out);
  }

  std::vector<BlockStep> take(const TextDelta& delta) {
    if (delta.finish != FinishReason::none) finish_ = delta.finish;
    std::vector<BlockStep> steps = blocks_.push(delta);
    while (ids_.size() < blocks_.blocks().size())
      ids_.push_back(random_id(id_prefix(blocks_.at(ids_.size()).kind)));
    return steps;
  }

  Json item(size_t index, const char* status) const {
    Json out = item_of(blocks_.at(index), ids_[index], status);
    if (!sheet_.shows_logprobs && blocks_.at(index).kind == BlockKind::text)
      out["content"][0]["logprobs"] = Json::array();
    return out;
  }

  static std::string text_event(BlockKind kind) {
    switch (kind) {
      case BlockKind::reasoning:
        return "response.reasoning_text";
      case BlockKind::text:
        return "response.output_text";
      case BlockKind::tool_call:
        return "response.function_call_arguments";
    }
    return {};
  }

  void open(size_t index, ServerEvents& out) {
    AnswerBlock empty = blocks_.at(index);
    empty.text.clear();
    empty.scores.clear();
    Json item = item_of(empty, ids_[index], "in_progress");
    if (item.contains("content")) item["content"] = Json::array();
    send("response.output_item.added", {{"output_index", index}, {"item", item}}, out);
    if (empty.kind != BlockKind::tool_call)
      send_part("response.content_part.added", index, {{"part", part_of(empty)}}, out);
  }

  void add(const BlockStep& step, ServerEvents& out) {
    const BlockKind kind = blocks_.at(step.index).kind;
    Json fields = {{"delta", step.piece}};
    if (kind == BlockKind::text)
      fields["logprobs"] = sheet_.shows_logprobs ? logprobs_of(step.scores) : Json::array();
    send_part(text_event(kind) + ".delta", step.index, std::move(fields), out);
  }

  void close(size_t index, ServerEvents& out) {
    const AnswerBlock& block = blocks_.at(index);
    const Json done = item(index, finish_ == FinishReason::length ? "incomplete" : "completed");
    Json fields = Json::object();
    if (block.kind == BlockKind::tool_call) {
      fields["name"] = block.name;
      fields["arguments"] = block.text;
    } else {
      fields["text"] = block.text;
      if (block.kind == BlockKind::text) fields["logprobs"] = done["content"][0]["logprobs"];
    }
    send_part(text_event(block.kind) + ".done", index, std::move(fields), out);
    if (block.kind != BlockKind::tool_call)
      send_part("response.content_part.done", index, {{"part", done["content"][0]}}, out);
    send("response.output_item.done", {{"output_index", index}, {"item", done}}, out);
  }

  Json response_with(const char* status) const {
    Json out = {{"id", sheet_.header.id},
                {"object", "response"},
                {"created_at", sheet_.header.created},
                {"status", status},
                {"model", sheet_.header.model}};
    out["error"] = nullptr;
    out["incomplete_details"] = nullptr;
    out["output"] = Json::array();
    out["usage"] = nullptr;
    out.update(*sheet_.shown);
    return out;
  }

  Json ended_response(const Usage& usage) const {
    const bool is_cut = finish_ == FinishReason::length;
    Json out = response_with(is_cut ? "incomplete" : "completed");
    if (is_cut) out["incomplete_details"] = {{"reason", "max_output_tokens"}};
    out["completed_at"] = std::time(nullptr);
    const size_t count = ids_.size();
    for (size_t i = 0; i < count; ++i)
      out["output"].push_back(item(i, is_cut && i + 1 == count ? "incomplete" : "completed"));
    out["usage"] = usage_json(usage);
    return out;
  }

  std::string keep(const Json& response) const {
    std::string body = json_text(response);
    if (sheet_.keep) sheet_.keep(body, json_text(response["output"]));
    return body;
  }

  const ResponseSheet sheet_;
  AnswerBlocks blocks_;
  std::vector<std::string> ids_;  // of the items, one for each block
  FinishReason finish_ = FinishReason::none;
  int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<AnswerFormat> responses_format(ResponseSheet sheet) {
  return std::make_unique<ResponsesFormat>(std::move(sheet));
}

}  // namespace quern

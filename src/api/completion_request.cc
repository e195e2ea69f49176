// SPDX-License-Identifier: Apache-2.0
#include "api/completion_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/api_error.h"

namespace quern {
namespace {

constexpr size_t kMaxPrompts = 1024, kMaxSequences = 2048;
constexpr int kMaxLogprobs = 20;

}  // namespace

CompletionRequest CompletionRequest::parse(const Json& body, std::vector<std::string>* ignored) {
  FieldReader fields(body);
  CompletionRequest out;
  out.model = fields.string("model").value_or("");
  out.prompts = texts_or_tokens(fields, "prompt", kMaxPrompts);
  out.add_special_tokens = fields.boolean_or("add_special_tokens", true);
  out.sampling = SamplingFields::parse(fields);
  out.stream_options = StreamOptions::parse(fields, out.stream);
  out.echo = fields.boolean_or("echo", false);
  // Without an answer there is the prompt to show.
  const int least = out.echo || out.sampling.prompt_logprobs >= 0 ? 0 : 1;
  if (const auto tokens = fields.integer("max_tokens", least, INT32_MAX))
    out.sampling.max_tokens = static_cast<int>(*tokens);
  const Json* logprobs = fields.find("logprobs");
  if (logprobs && *logprobs != false)  // some clients send false for none
    out.sampling.logprobs = static_cast<int>(*fields.integer("logprobs", 0, kMaxLogprobs));
  out.sampling.echoes_logprobs = out.echo && out.sampling.logprobs >= 0;
  if (out.prompts.size() * static_cast<size_t>(out.sampling.n) > kMaxSequences)
    fail_field("n",
               "{} prompts times n = {}: the limit is {} answers",
               out.prompts.size(),
               out.sampling.n,
               kMaxSequences);
  fields.refuse("suffix", "this version cannot fill a gap");
  fields.refuse("max_completion_tokens", "completions call it max_tokens");
  fields.refuse("top_logprobs", "completions take the number as logprobs");
  for (const std::string_view name :
       {"messages", "tools", "tool_choice", "chat_template_kwargs", "mm_processor_kwargs"})
    fields.refuse(name, "it belongs to /v1/chat/completions");
  std::vector<std::string> unknown = fields.reject_misspelt();
  if (ignored) *ignored = std::move(unknown);
  return out;
}

TokenizeRequest TokenizeRequest::parse(const Json& body) {
  FieldReader fields(body);
  TokenizeRequest out;
  out.model = fields.string("model").value_or("");
  out.return_token_strs = fields.boolean_or("return_token_strs", false);
  if (fields.has("messages") == fields.has("prompt"))
    fail_field("prompt", "expected either \"prompt\" or \"messages\"");
  if (fields.has("messages")) {
    out.chat = ChatMessages::parse(fields);
  } else {
    out.prompt = fields.string("prompt");
    out.add_special_tokens = fields.boolean_or("add_special_tokens", true);
  }
  fields.reject_misspelt();
  return out;
}

DetokenizeRequest DetokenizeRequest::parse(const Json& body) {
  FieldReader fields(body);
  DetokenizeRequest out;
  out.model = fields.string("model").value_or("");
  if (!fields.has("tokens")) fail_field("tokens", "tokens: missing; expected a list of token ids");
  out.tokens = fields.token_ids("tokens", kMaxPromptTokens);
  fields.reject_misspelt();
  return out;
}

}  // namespace quern

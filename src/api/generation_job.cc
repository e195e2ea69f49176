// SPDX-License-Identifier: Apache-2.0
#include "api/generation_job.h"

#include <algorithm>

#include "api/answer_constraint.h"

namespace quern {
namespace {

constexpr int kCompletionMaxTokens = 16;  // where a completion request names none

// The parts of the job that do not depend on the dialect.
GenerationJob job_of(const SamplingFields& fields, bool stream, const StreamOptions& options) {
  GenerationJob job;
  job.submitted = {.n = fields.n, .priority = fields.priority, .cache_salt = fields.cache_salt};
  job.text = fields.text;
  job.shows_tokens = fields.logprobs >= 0 || fields.return_token_ids;
  job.stream = stream;
  job.stream_options = options;
  return job;
}

// The tokens that one sequence may have: the context, or less if the cache holds less. The last
// token is never stored.
int64_t context_of(const ServiceInfo& info) {
  const int64_t in_cache = info.num_blocks * info.block_size + 1;
  return info.num_blocks > 0 ? std::min(info.max_model_len, in_cache) : info.max_model_len;
}

// The end of a prompt that is longer than was asked for.
std::shared_ptr<const Prompt> truncated(std::shared_ptr<const Prompt> prompt,
                                        const SamplingFields& fields,
                                        const Service& service) {
  if (!fields.truncate_prompt_tokens) return prompt;
  const int64_t context = context_of(service.info());
  int64_t keep = *fields.truncate_prompt_tokens;
  if (keep > context)
    fail_field("truncate_prompt_tokens",
               "truncate_prompt_tokens: expected at most the context of {} tokens, got {}",
               context,
               keep);
  if (keep < 0) keep = std::max<int64_t>(1, context - fields.max_tokens.value_or(1));
  const auto& ids = prompt->ids;
  if (static_cast<int64_t>(ids.size()) <= keep) return prompt;
  if (!prompt->media.empty())
    throw RequestError(ErrorCode::unsupported,
                       "truncate_prompt_tokens",
                       "truncate_prompt_tokens: a prompt with media is not cut; shorten it",
                       "unsupported");
  return service.prepare(TokenIds(ids.end() - keep, ids.end()), false);
}

void add_prompt(GenerationJob& job,
                std::shared_ptr<const Prompt> prompt,
                const SamplingFields& fields,
                const JobContext& context,
                int fallback_max_tokens) {
  prompt = truncated(std::move(prompt), fields, context.service);
  if (prompt->ids.empty()) fail_field("prompt", "prompt: it has no tokens; expected at least one");
  const ResolveLimits limits{.max_model_len = context_of(context.service.info()),
                             .prompt_tokens = static_cast<int64_t>(prompt->ids.size()),
                             .fallback_max_tokens = fallback_max_tokens,
                             .fallback_seed = context.seed};
  job.params.push_back(
      resolve(fields, context.service.defaults(), limits, context.service.tokenizer()));
  job.prompts.push_back(std::move(prompt));
}

AnswerParts parts_of(const GenerationJob& job, const SamplingFields& fields) {
  AnswerParts parts;
  parts.logprobs = fields.logprobs >= 0;
  parts.prompt_logprobs = fields.prompt_logprobs;
  if (fields.echoes_logprobs) parts.echo_logprobs = fields.logprobs;
  parts.token_ids = fields.return_token_ids;
  parts.tokens_as_ids = fields.return_tokens_as_token_ids;
  parts.choices_per_prompt = job.submitted.n;
  if (parts.token_ids)
    for (const auto& prompt : job.prompts) parts.prompt_ids.push_back(prompt->ids);
  return parts;
}

std::string echo_of(const TextOrTokens& prompt, const Tokenizer& tokenizer) {
  if (const auto* text = std::get_if<std::string>(&prompt)) return *text;
  return tokenizer.decode(std::get<TokenIds>(prompt));
}

// Tools and reasoning: how the answers are read.
AnswerReading read_answers(GenerationJob& job,
                           const ChatRequest& request,
                           const JobContext& context) {
  AnswerReading reading = reading_of({.dialects = context.service.dialects(),
                                      .use = request.tool_use,
                                      .tools = request.chat.tools,
                                      .prompt = *job.prompts.at(0),
                                      .id = context.id,
                                      .calls_before = tool_calls_in(*request.chat.messages)});
  job.make_parser = reading.make_parser;
  job.text.shown_special_ids = reading.shown_special_ids;
  if (!reading.constraint) return reading;
  if (request.sampling.constraint)
    throw RequestError(
        ErrorCode::unsupported,
        request.sampling.constraint->field,
        format("{}: it cannot be combined with a forced tool_choice or strict tools; remove one",
               request.sampling.constraint->field),
        "unsupported");
  const auto grammar = compiled(Constraint{*reading.constraint, "tools"}, context.service);
  for (SamplingParams& params : job.params) params.grammar = grammar;
  return reading;
}

}  // namespace

AnswerHeader request_header(std::string_view prefix, const JobContext& context) {
  return {std::string(prefix) + context.id, context.created, context.service.info().names.at(0)};
}

void check_model(const ServiceInfo& info, const std::string& model) {
  if (model.empty() || std::find(info.names.begin(), info.names.end(), model) != info.names.end())
    return;
  throw RequestError(ErrorCode::not_found,
                     "model",
                     format("The model `{}` does not exist; this server serves `{}`.",
                            model.substr(0, 256),
                            info.names.at(0)),
                     "model_not_found");
}

GenerationJob chat_job(const Json& body, const JobContext& context) {
  std::vector<std::string> ignored;
  const ChatRequest request = ChatRequest::parse(body, &ignored);
  check_model(context.service.info(), request.model);
  const auto grammar = compiled(request.sampling.constraint, context.service);
  GenerationJob job = job_of(request.sampling, request.stream, request.stream_options);
  add_prompt(job, context.service.prepare(request.chat), request.sampling, context, 0);
  for (SamplingParams& params : job.params)
    params.grammar = grammar_behind(grammar, context.service, *job.prompts.at(0));
  const AnswerReading reading = read_answers(job, request, context);
  AnswerParts parts = parts_of(job, request.sampling);
  parts.reasoning = reading.has_reasoning && request.tool_use.shows_reasoning;
  job.format = chat_format(request_header("chatcmpl-", context), std::move(parts));
  job.ignored = std::move(ignored);
  return job;
}

GenerationJob completion_job(const Json& body, const JobContext& context) {
  std::vector<std::string> ignored;
  const CompletionRequest request = CompletionRequest::parse(body, &ignored);
  check_model(context.service.info(), request.model);
  const auto grammar = compiled(request.sampling.constraint, context.service);
  GenerationJob job = job_of(request.sampling, request.stream, request.stream_options);
  for (const TextOrTokens& prompt : request.prompts)
    add_prompt(job,
               context.service.prepare(prompt, request.add_special_tokens),
               request.sampling,
               context,
               kCompletionMaxTokens);
  for (SamplingParams& params : job.params) params.grammar = grammar;
  AnswerParts parts = parts_of(job, request.sampling);
  if (request.echo)
    for (size_t i = 0; i < request.prompts.size(); ++i)
      parts.echo.push_back(request.sampling.truncate_prompt_tokens
                               ? echo_of(job.prompts[i]->ids, context.service.tokenizer())
                               : echo_of(request.prompts[i], context.service.tokenizer()));
  job.format = completion_format(request_header("cmpl-", context), std::move(parts));
  job.ignored = std::move(ignored);
  return job;
}

std::unique_ptr<Generation> GenerationJob::submit(Service& service, const std::string& id) const {
  auto generation = std::make_unique<Generation>(service, id, text, make_parser);
  for (size_t i = 0; i < prompts.size(); ++i) generation->submit(prompts[i], params[i], submitted);
  return generation;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/dialect_jobs.h"

#include <nlohmann/json.hpp>

#include "api/messages_format.h"
#include "api/messages_request.h"
#include "api/random_id.h"
#include "api/responses_format.h"
#include "api/responses_request.h"
#include "base/json.h"

namespace quern {
namespace {

AnswerHeader header_of(std::string_view prefix, const JobContext& context) {
  return {random_id(prefix), context.created, context.service.info().names.at(0)};
}

GenerationJob translated_job(const TranslatedChat& chat, const JobContext& context) {
  return chat.origins().naming([&] { return chat_job(chat.body(), context); });
}

// "[a]" and "[b]" → "[a,b]", as texts: a conversation may be long.
std::string joined_lists(const std::string& a, const std::string& b) {
  if (b == "[]") return a;
  return a.substr(0, a.size() - 1) + "," + b.substr(1);
}

Json rendered(const Prompt& prompt, const SamplingParams& params, const Tokenizer& tokenizer) {
  Json media = Json::array();
  for (const MediaSpan& span : prompt.media)
    media.push_back({{"type", name_of(span.media->kind)},
                     {"first_token", span.first_token},
                     {"tokens", span.count}});
  Json out = Json::object();
  out["prompt"] = prompt.text.empty() ? tokenizer.decode(prompt.ids, {}) : prompt.text;
  out["token_ids"] = prompt.ids;
  out["media"] = std::move(media);
  out["sampling_params"] = {{"temperature", params.temperature},
                            {"top_p", params.top_p},
                            {"top_k", params.top_k},
                            {"min_p", params.min_p},
                            {"repetition_penalty", params.repetition_penalty},
                            {"presence_penalty", params.presence_penalty},
                            {"frequency_penalty", params.frequency_penalty},
                            {"max_tokens", params.max_tokens},
                            {"min_tokens", params.min_tokens},
                            {"stop_token_ids", params.stop_token_ids}};
  return out;
}

}  // namespace

GenerationJob responses_job(const Json& body, const JobContext& context) {
  ResponsesRequest request = ResponsesRequest::parse(body, context.responses, context.owner);
  GenerationJob job = translated_job(request.chat, context);
  reject_misspelt_in_responses(body, job.ignored);
  ResponseSheet sheet;
  sheet.header = header_of("resp_", context);
  sheet.shows_logprobs = request.shows_logprobs;
  Json shown = *request.shown;
  shown["temperature"] = job.params.at(0).temperature;
  shown["top_p"] = job.params.at(0).top_p;
  sheet.shown = std::make_shared<const Json>(std::move(shown));
  if (request.is_stored && context.responses)
    sheet.keep = [store = context.responses,
                  id = sheet.header.id,
                  owner = context.owner,
                  input = std::move(request.input)](const std::string& response,
                                                    const std::string& items) {
      store->put(id, {owner, response, input, joined_lists(input, items)});
    };
  job.format = responses_format(std::move(sheet));
  return job;
}

GenerationJob messages_job(const Json& body, const JobContext& context) {
  const TranslatedChat chat = chat_of_messages(body, false);
  GenerationJob job = translated_job(chat, context);
  reject_misspelt_in_messages(body, job.ignored);
  job.format = messages_format(header_of("msg_", context));
  return job;
}

std::string count_tokens_body(const Json& body, const JobContext& context) {
  const TranslatedChat chat = chat_of_messages(body, true);
  const GenerationJob job = translated_job(chat, context);
  reject_misspelt_in_messages(body, job.ignored);
  return count_tokens_response(static_cast<int64_t>(job.prompts.at(0)->ids.size()));
}

std::string rendered_body(const GenerationJob& job, const JobContext& context) {
  Json body = {{"object", "rendered_prompts"}, {"model", context.service.info().names.at(0)}};
  Json& prompts = body["prompts"] = Json::array();
  for (size_t i = 0; i < job.prompts.size(); ++i)
    prompts.push_back(rendered(*job.prompts[i], job.params[i], context.service.tokenizer()));
  return json_text(body);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// GenerationJob: what a chat or completion request becomes once it is parsed and its prompts are
// prepared: all that is needed to run it and to show its answers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/answer_format.h"
#include "api/generation.h"
#include "api/service.h"

namespace quern {

class ResponseStore;

struct GenerationJob {
  std::vector<std::shared_ptr<const Prompt>> prompts;
  std::vector<SamplingParams> params;  // per prompt
  SubmitOptions submitted;
  TextOptions text;
  ParserFactory make_parser;  // of the choices; empty: all text is content
  bool shows_tokens = false;  // log-probs or ids beside the text
  bool stream = false;
  StreamOptions stream_options;
  std::unique_ptr<AnswerFormat> format;
  std::vector<std::string> ignored;  // unknown fields of the request

  int choice_count() const { return static_cast<int>(prompts.size()) * submitted.n; }
  // Queues all prompts under ids that begin with `id`. Throws what Service::submit throws; then
  // none is left queued.
  std::unique_ptr<Generation> submit(Service& service, const std::string& id) const;
};

struct JobContext {
  const Service& service;
  std::string id;                      // "chatcmpl-" and "cmpl-" go in front of it
  int64_t created = 0;                 // seconds since 1970
  uint64_t seed = 0;                   // where the request names none
  ResponseStore* responses = nullptr;  // of /v1/responses; null: none are kept
  std::string owner = {};              // the API key of the request; empty: none was needed
};

// Both are slow (template, tokenizer, media). They throw RequestError: a wrong field; a model of
// another name (not_found); a prompt without room for an answer.
GenerationJob chat_job(const Json& body, const JobContext& context);
GenerationJob completion_job(const Json& body, const JobContext& context);

// Of an answer under the request's own id behind `prefix`.
AnswerHeader request_header(std::string_view prefix, const JobContext& context);

// Throws RequestError{not_found} unless `model` is empty or one of the served names.
void check_model(const ServiceInfo& info, const std::string& model);

}  // namespace quern

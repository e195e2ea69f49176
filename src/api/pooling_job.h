// SPDX-License-Identifier: Apache-2.0
// PoolingJob: what a request for vectors becomes once it is parsed and its prompts are prepared.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/generation_job.h"
#include "api/pooling_format.h"

namespace quern {

struct PoolingJob {
  std::vector<std::shared_ptr<const Prompt>> prompts;
  SubmitOptions submitted;
  // The body, from the pooled rows of the prompts in their order.
  std::function<std::string(std::vector<Vector> pooled, const Usage& usage)> body;
  std::vector<std::string> ignored;  // unknown fields of the request
};

// All are slow (template, tokenizer). They throw RequestError: a wrong field; a model of another
// name (not_found), or of another kind than the route needs; a prompt longer than the context.
PoolingJob embedding_job(const Json& body, const JobContext& context);
PoolingJob classify_job(const Json& body, const JobContext& context);
PoolingJob score_job(const Json& body, const JobContext& context);
PoolingJob rerank_job(const Json& body, const JobContext& context);

// Throws RequestError{not_found} with the reason where the service generates text.
void check_pools(const ServiceInfo& info);
// Throws the same where it does not.
void check_generates(const ServiceInfo& info);

}  // namespace quern

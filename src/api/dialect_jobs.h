// SPDX-License-Identifier: Apache-2.0
// The jobs of the dialects that are translated to chat requests, and what is asked about a prompt
// without an answer.
#pragma once

#include <string>

#include "api/generation_job.h"

namespace quern {

GenerationJob responses_job(const Json& body, const JobContext& context);
GenerationJob messages_job(const Json& body, const JobContext& context);

// The body of an answer to /v1/messages/count_tokens. Throws as a job does.
std::string count_tokens_body(const Json& body, const JobContext& context);

// What the model would be given: text, ids, media and parameters of every prompt of the job.
std::string rendered_body(const GenerationJob& job, const JobContext& context);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// One line of a batch file, in OpenAI's format: what it asks, and the line that answers it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "api/generation_job.h"
#include "api/pooling_job.h"

namespace quern {

struct BatchLine {
  std::string custom_id;  // the client's name of the line, 1 to 512 bytes
  std::string url;        // one of those that batch_job serves
  std::shared_ptr<const Json> body;

  // Throws RequestError naming the field.
  static BatchLine parse(std::string_view text);
};

// The custom_id of a line as far as it has one; empty otherwise.
std::string custom_id_of(std::string_view text);

// Text or vectors, by the line's URL. Throws what the job makers throw; RequestError for a URL that
// is none of theirs, for one that this model does not serve, or a body that asks for a stream.
using BatchJob = std::variant<GenerationJob, PoolingJob>;
BatchJob batch_job(const BatchLine& line, const JobContext& context);

// Lines of the output, without line feed. `body` is the JSON text of an answer.
std::string batch_answer(const std::string& custom_id,
                         const std::string& request_id,
                         const std::string& body);
std::string batch_failure(const std::string& custom_id,
                          const std::string& request_id,
                          const ApiError& error);
// A line that is no request; `custom_id` is empty if it has none.
std::string batch_bad_line(const std::string& custom_id, int64_t number, const ApiError& error);

// Which line of the input a line of the output answers: its custom_id, or "line N" of a bad one;
// empty if it is no line of an output.
std::string batch_key(std::string_view output_line);
std::string bad_line_key(int64_t number);

}  // namespace quern

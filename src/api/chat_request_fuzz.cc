// SPDX-License-Identifier: Apache-2.0
// Request bodies of any shape end in a request or in an Error; a request that parses resolves, or
// says why not.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/completion_request.h"
#include "api/scripted_service.h"

namespace {

using namespace quern;

template <typename Body>
void run(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    to_json(api_error_of(e));
  }
}

void resolve_fields(const SamplingFields& fields) {
  static const ScriptedService service;
  resolve(fields,
          service.defaults(),
          {.max_model_len = 4096, .prompt_tokens = 10},
          service.tokenizer());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  run([&] {
    const Json body = parse_json({reinterpret_cast<const char*>(data), size}, "request body");
    run([&] { resolve_fields(ChatRequest::parse(body).sampling); });
    run([&] { resolve_fields(CompletionRequest::parse(body).sampling); });
    run([&] { TokenizeRequest::parse(body); });
    run([&] { DetokenizeRequest::parse(body); });
  });
  return 0;
}

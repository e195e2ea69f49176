// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions, as it comes over the wire.
#pragma once

#include <memory>
#include <string>

#include "api/sampling_fields.h"
#include "api/tool_use.h"
#include "base/json.h"
#include "prompt/processor_options.h"

namespace quern {

struct StreamOptions {
  bool include_usage = false;           // a last chunk with usage and no choices
  bool continuous_usage_stats = false;  // usage so far in every chunk
  // Reads `stream` and `stream_options`; the latter without the former is an error.
  static StreamOptions parse(FieldReader& fields, bool& stream);
};

// The conversation and how it is rendered: what chat requests and /tokenize have in common.
struct ChatMessages {
  // An array of {role, content, …}, checked for shape: roles and texts are strings, content is a
  // string, null or an array of typed parts. tool_calls whose arguments are a string of JSON carry
  // them parsed, as templates want them.
  std::shared_ptr<const Json> messages;
  std::shared_ptr<const Json> tools;            // null: none
  std::shared_ptr<const Json> template_kwargs;  // an object, or null
  ProcessorOptions processor;                   // of mm_processor_kwargs
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  bool add_special_tokens = false;  // a template writes its own
  // Whether the template has to show the tools: not where none is to be called, nor where the
  // answer is held to a call of one.
  bool must_show_tools = true;

  static ChatMessages parse(FieldReader& fields);
};

struct ChatRequest {
  std::string model;  // empty: the served one
  ChatMessages chat;
  SamplingFields sampling;
  ToolUse tool_use;
  bool stream = false;
  StreamOptions stream_options;

  // Throws RequestError naming the field. `ignored`, if given, gets the names of unknown fields.
  static ChatRequest parse(const Json& body, std::vector<std::string>* ignored = nullptr);
};

}  // namespace quern

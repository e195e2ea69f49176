// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/chat_template.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr size_t kMaxSourceBytes = size_t{4} << 20;  // published templates have less than 64 KiB

jinja::Program compile(std::string_view source, const TemplateLimits& limits) {
  if (source.size() > kMaxSourceBytes) {
    fail(ErrorCode::invalid_argument,
         "chat template: expected at most {} bytes, got {}",
         kMaxSourceBytes,
         source.size());
  }
  if (const size_t valid = utf8_valid_prefix(source); valid < source.size()) {
    fail(ErrorCode::invalid_argument,
         "chat template: expected UTF-8, got another byte at offset {}",
         valid);
  }
  return jinja::parse_template(source, limits.max_depth);
}

}  // namespace

struct ChatTemplate::State {
  jinja::Program program;
  TemplateLimits limits;
  std::string source;
};

ChatTemplate::ChatTemplate(std::string_view source, const TemplateLimits& limits)
    : state_(std::make_unique<const State>(
          State{compile(source, limits), limits, std::string(source)})) {}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const Json& variables, int64_t now_unix_s) const {
  if (!variables.is_object())
    fail(ErrorCode::invalid_argument, "chat template: expected an object of variables");
  const jinja::Budget budget(state_->limits);
  jinja::Interpreter interpreter(
      state_->program, variables, now_unix_s, state_->limits.max_output_bytes);
  try {
    return interpreter.render();
  } catch (Error& e) {
    e.with_context(format("chat template, line {}", interpreter.line));
    throw;
  }
}

bool ChatTemplate::mentions(std::string_view variable) const {
  return state_->program.reads.contains(variable);
}

const std::string& ChatTemplate::source() const {
  return state_->source;
}

}  // namespace quern

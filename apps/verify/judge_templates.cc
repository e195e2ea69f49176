// SPDX-License-Identifier: Apache-2.0
// Chat-template cases and the small templates that show one feature each.
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "base/json.h"
#include "text/jinja/chat_template.h"
#include "verify/judges.h"

namespace quern {
namespace {

// "2025-03-14T09:26:53", in UTC.
int64_t unix_time(const GoldenCase& golden) {
  const std::string text = golden.expected().value("now", "");
  std::tm t = {};
  if (text.empty()) return 0;
  if (strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &t) == nullptr)
    fail(ErrorCode::data_loss, "now: expected 2025-03-14T09:26:53, got {}", text);
  return timegm(&t);
}

// Null: the template failed, for a reason of its own.
std::optional<std::string> render(const std::string& source,
                                  const Json& variables,
                                  int64_t now,
                                  std::string& failure) {
  try {
    return ChatTemplate(source).render(variables, now);
  } catch (const Error& error) {
    failure = error.what();
    return std::nullopt;
  }
}

void add_variables(const Json& row, const char* field, Json& variables) {
  const auto more = row.find(field);
  if (more == row.end()) return;
  for (const auto& [name, value] : more->items()) variables[name] = value;
}

struct Counters {
  RowCounter rendered, errors;

  void judge(const Json& row, const std::string& source, const Json& variables, int64_t now) {
    std::string failure;
    const std::optional<std::string> text = render(source, variables, now, failure);
    const std::string name = row.value("name", row.value("template", ""));
    // Only that it fails is compared: the reference's words are its own.
    if (row.contains("error")) return errors.compare(!text, name + ": rendered, but must fail");
    const std::string wanted = row.at("rendered").get<std::string>();
    rendered.compare(text == wanted,
                     format("{}: expected {}, got {}",
                            name,
                            Json(wanted).dump(),
                            text ? json_text(*text) : failure));
  }
  void report_to(Report& report) const {
    rendered.report_to(report, "rendered");
    errors.report_to(report, "error");
  }
};

}  // namespace

void judge_chat_template(const GoldenCase& golden, Report& report) {
  const std::string source = read_file(golden.file("chat_template.jinja"));
  const int64_t now = unix_time(golden);
  Counters counters;
  for (const Json& row : golden.rows("cases.jsonl")) {
    Json variables = golden.expected().value("special_tokens", Json::object());
    variables["messages"] = row.at("messages");
    variables["tools"] = row.value("tools", Json(nullptr));
    variables["documents"] = nullptr;
    variables["add_generation_prompt"] = row.value("add_generation_prompt", false);
    add_variables(row, "kwargs", variables);
    counters.judge(row, source, variables, now);
  }
  counters.report_to(report);
}

void judge_jinja(const GoldenCase& golden, Report& report) {
  const Json context = file_exists(golden.file("context.json"))
                           ? read_json_file(golden.file("context.json"))
                           : Json::object();
  const int64_t now = unix_time(golden);
  Counters counters;
  for (const Json& row : golden.rows("cases.jsonl")) {
    Json variables = context;
    add_variables(row, "context", variables);
    counters.judge(row, row.at("template").get<std::string>(), variables, now);
  }
  counters.report_to(report);
}

}  // namespace quern

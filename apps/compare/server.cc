// SPDX-License-Identifier: Apache-2.0
#include "compare/server.h"
#include "base/json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bench/statistics.h"
#include "calibration_set.h"
#include "eval/request_body.h"

namespace quern::compare {
namespace {

constexpr int kAtOnce = 8;
constexpr int64_t kAnswerS = 3600;    // a slow model on a slow machine
constexpr size_t kBytesPerToken = 4;  // of prose, about

// The text of the first choice: of a completion, or a chat's message.
std::string text_of(const Json& answer) {
  const auto choices = answer.is_object() ? answer.find("choices") : answer.end();
  if (choices != answer.end() && choices->is_array() && !choices->empty()) {
    const Json& choice = choices->front();
    const Json text = choice.is_object() ? choice.value("text", Json()) : Json();
    if (text.is_string()) return text.get<std::string>();
    const Json message = choice.is_object() ? choice.value("message", Json()) : Json();
    if (message.is_object()) {
      const Json content = message.value("content", Json());
      return content.is_string() ? content.get<std::string>() : std::string();
    }
  }
  fail(ErrorCode::unavailable, "the server's answer has no text: is it an OpenAI server?");
}

eval::ItemResult ask(const Server& server, const eval::Task& task, const eval::TaskItem& item) {
  Json body = eval::request_body(task, item);
  body["model"] = server.model;
  const char* path = item.messages ? "/v1/chat/completions" : "/v1/completions";
  eval::ItemResult out;
  out.answer = text_of(bench::post_json(
      server.endpoint, path, json_text(body), {.timeout_s = kAnswerS, .stop = nullptr}));
  eval::judge_answer(item, out);
  return out;
}

// A way of asking for a stream of a known length: not every server knows all of them.
struct Dialect {
  bool is_chat = false, ignores_end = true;
};

std::string stream_body(const Server& server,
                        const Dialect& dialect,
                        const std::string& prompt,
                        int output_tokens) {
  Json body = {{"model", server.model},
               {"temperature", 0},
               {"max_tokens", output_tokens},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}};
  if (dialect.ignores_end) body["ignore_eos"] = true;
  if (dialect.is_chat)
    body["messages"] = {{{"role", "user"}, {"content", prompt}}};
  else
    body["prompt"] = prompt;
  return json_text(body);
}

bench::Outcome stream(const Server& server,
                      const Dialect& dialect,
                      const std::string& prompt,
                      int output_tokens) {
  const std::vector<bench::TimedRequest> one = {
      {.at_s = 0, .body = stream_body(server, dialect, prompt, output_tokens)}};
  return bench::send_load(
             server.endpoint, dialect.is_chat ? "/v1/chat/completions" : "/v1/completions", one, {})
      .outcomes.front();
}

// A piece of prose that no other request begins with.
std::string piece(int number, int tokens) {
  const std::string_view prose = built_in_prose();
  const size_t length = static_cast<size_t>(tokens) * kBytesPerToken;
  std::string out = format("{}. ", number);
  for (size_t at = static_cast<size_t>(number) * 997; out.size() < length; ++at)
    out += prose[at % prose.size()] & 0x80 ? '-' : prose[at % prose.size()];
  return out;
}

// The first way in which the server answers, which warms it up besides.
Dialect dialect_of(const Server& server, const SpeedShape& shape) {
  std::string said;
  for (const Dialect dialect :
       {Dialect{false, true}, Dialect{false, false}, Dialect{true, true}, Dialect{true, false}}) {
    const bench::Outcome outcome = stream(server, dialect, piece(0, shape.input_tokens), 2);
    if (outcome.is_success) return dialect;
    if (said.empty()) said = outcome.error;
  }
  fail(ErrorCode::unavailable, "{}: {}", server.endpoint.base_url, said);
}

}  // namespace

Server server_named(const std::string& address, const std::string& api_key) {
  const size_t mark = std::min(address.find('#'), address.size());
  std::string url = address.substr(0, mark);
  while (url.ends_with('/')) url.pop_back();
  if (url.ends_with("/v1")) url.resize(url.size() - 3);
  Server out{.endpoint = {.base_url = url, .api_key = api_key}, .model = {}};
  const std::string wanted = mark < address.size() ? address.substr(mark + 1) : std::string();
  out.model = bench::find_served(out.endpoint, wanted).id;
  if (!wanted.empty() && out.model != wanted)
    fail(ErrorCode::not_found, "{}: serves {}, not {}", url, out.model, wanted);
  return out;
}

std::vector<eval::TaskResults> answers_of_server(const Server& server,
                                                 const std::vector<eval::Task>& tasks) {
  std::vector<eval::TaskResults> out;
  for (const eval::Task& task : tasks)
    out.push_back(eval::run_task(
        task,
        [&](const eval::Task& t, const eval::TaskItem& item) { return ask(server, t, item); },
        kAtOnce));
  return out;
}

Json speed_of_server(const Server& server, const SpeedShape& shape) {
  const Dialect dialect = dialect_of(server, shape);
  std::vector<double> prefill, decode, input;
  for (int run = 1; run <= shape.runs; ++run) {
    const bench::Outcome o =
        stream(server, dialect, piece(run, shape.input_tokens), shape.output_tokens);
    if (!o.is_success) fail(ErrorCode::unavailable, "{}: {}", server.endpoint.base_url, o.error);
    input.push_back(static_cast<double>(o.input_tokens));
    if (o.ttft_s > 0 && o.input_tokens > 0)
      prefill.push_back(static_cast<double>(o.input_tokens) / o.ttft_s);
    if (o.output_tokens > 1 && o.latency_s > o.ttft_s)
      decode.push_back(static_cast<double>(o.output_tokens - 1) / (o.latency_s - o.ttft_s));
  }
  Json out = {{"input_tokens", bench::summarize(input).median}};
  if (!prefill.empty()) out["prefill_tok_s"] = bench::summarize(prefill).median;
  if (!decode.empty()) out["decode_tok_s"] = bench::summarize(decode).median;
  return out;
}

}  // namespace quern::compare

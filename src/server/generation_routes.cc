// SPDX-License-Identifier: Apache-2.0
// Routes that generate: prepare the job off the io thread, submit it, turn its deltas into one body
// or a stream of events.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/answer_stream.h"
#include "api/dialect_jobs.h"
#include "api/generation_job.h"
#include "api/messages_format.h"
#include "api/pooling_job.h"
#include "base/log.h"
#include "server/route_context.h"

namespace quern {
namespace {

using JobMaker = GenerationJob (*)(const Json&, const JobContext&);

std::string note_of(const Generation& generation) {
  const Usage usage = generation.usage();
  return format("prompt_tokens={} cached_tokens={} output_tokens={}",
                usage.prompt_tokens,
                usage.cached_tokens,
                usage.completion_tokens);
}

std::string wire_form(const ServerEvents& events) {
  std::string out;
  for (const auto& [name, data] : events) {
    if (!name.empty()) out.append("event: ").append(name).append("\n");
    out.append("data: ").append(data).append("\n\n");
  }
  return out;
}

Task<> answer_whole(const GenerationJob& job,
                    Generation& generation,
                    GenerationMeter& meter,
                    Exchange& exchange) {
  std::vector<TextDelta> answers(static_cast<size_t>(job.choice_count()));
  for (;;) {
    auto deltas = generation.poll();
    meter.count(deltas);
    for (auto& [index, delta] : deltas)
      answers[static_cast<size_t>(index)].append(std::move(delta));
    if (generation.is_finished()) break;
    co_await exchange.wait();
    if (!exchange.is_open()) co_return;
  }
  for (const TextDelta& answer : answers) {
    if (!has_failed(answer)) continue;
    const ApiError failure = failure_of(answer);
    HttpResponse response = error_response(failure.status, failure.message, failure.code);
    response.body = job.format->error_body(failure);
    co_await exchange.respond(std::move(response));
    co_return;
  }
  co_await exchange.respond(json_response(job.format->whole(answers, generation.usage())));
}

// What is to be sent now: events of new deltas, and the end of the stream if it has come.
std::string next_events(Generation& generation, GenerationMeter& meter, AnswerStream& stream) {
  const auto deltas = generation.poll();
  meter.count(deltas);
  std::string events = wire_form(stream.events(deltas));
  if (generation.is_finished() && !stream.has_failed()) events += wire_form(stream.closing());
  return events;
}

// What keeps a silent stream open.
std::string comment_after(int64_t quiet_us, const RouteContext& context) {
  if (quiet_us >= context.sse_recovering_us && context.service.is_recovering())
    return ": recovering\n\n";
  if (context.sse_keep_alive_us > 0 && quiet_us >= context.sse_keep_alive_us)
    return ": keep-alive\n\n";
  return "";
}

// How long a stream may sleep until it has to look for such a comment.
int patience_ms(const RouteContext& context) {
  const int64_t us = context.sse_keep_alive_us > 0
                         ? std::min(context.sse_keep_alive_us, context.sse_recovering_us)
                         : context.sse_recovering_us;
  return static_cast<int>(std::max<int64_t>(1, us / 1000));
}

// A write returns when the system has taken the bytes. While a slow reader holds it up, deltas wait
// in the engine's bounded EventStream, and then the request pauses.
Task<> answer_in_events(const GenerationJob& job,
                        Generation& generation,
                        GenerationMeter& meter,
                        Exchange& exchange,
                        RouteContext& context) {
  AnswerStream stream(*job.format, job.stream_options, generation, job.shows_tokens);
  co_await exchange.begin_stream(event_stream_head());
  int64_t written_us = context.clock.now_us();
  while (exchange.is_open()) {
    std::string events = next_events(generation, meter, stream);
    const int64_t quiet_us = context.clock.now_us() - written_us;
    if (events.empty()) events = comment_after(quiet_us, context);
    if (!events.empty()) written_us = context.clock.now_us();
    co_await exchange.write(std::move(events));
    if (generation.is_finished() || stream.has_failed()) {
      co_await exchange.end_stream();
      co_return;
    }
    co_await exchange.wait(patience_ms(context));
  }
}

Task<> generate(JobMaker make, RouteContext& context, Exchange& exchange) {
  check_generates(context.service.info());
  const int64_t arrived_us = context.clock.now_us();
  GenerationJob job;
  std::function<void()> work = [&] { job = make_job(make, context, exchange.request()); };
  co_await exchange.offload(std::move(work));
  if (!exchange.is_open()) co_return;
  const std::string& id = exchange.request().id;
  log_ignored(id, job.ignored);
  std::unique_ptr<Generation> generation;
  try {
    generation = job.submit(context.service, format("{}-{:x}", id, ++context.generations));
  } catch (const Error& e) {
    if (e.code() == ErrorCode::exhausted) context.metrics.count_rejection("queue_full");
    throw;
  }
  GenerationMeter meter(context.metrics, context.clock, arrived_us, job);
  generation->set_notify(exchange.waker());
  if (job.stream)
    co_await answer_in_events(job, *generation, meter, exchange, context);
  else
    co_await answer_whole(job, *generation, meter, exchange);
  exchange.log_note = note_of(*generation);
}

// The prompts of the job that would be run.
Task<> render(JobMaker make, RouteContext& context, Exchange& exchange) {
  check_generates(context.service.info());
  std::string body;
  std::function<void()> work = [&] {
    const GenerationJob job = make_job(make, context, exchange.request());
    body = rendered_body(job, job_context(context, exchange.request()));
  };
  co_await exchange.offload(std::move(work));
  co_await exchange.respond(json_response(std::move(body)));
}

Task<> count_tokens(RouteContext& context, Exchange& exchange) {
  check_generates(context.service.info());
  std::string body;
  std::function<void()> work = [&] {
    body = count_tokens_body(parse_json(exchange.request().body, "request body"),
                             job_context(context, exchange.request()));
  };
  co_await exchange.offload(std::move(work));
  co_await exchange.respond(json_response(std::move(body)));
}

}  // namespace

void add_generation_routes(Router& router, RouteContext& context) {
  const RouteOptions openai{.takes_json = true};
  const RouteOptions anthropic{.takes_json = true, .error_body = messages_error};
  const auto add = [&](const std::string& path, RouteOptions options, JobMaker make) {
    router.add("POST", path, options, [&context, make](Exchange& exchange) {
      return generate(make, context, exchange);
    });
    router.add("POST", path + "/render", options, [&context, make](Exchange& exchange) {
      return render(make, context, exchange);
    });
  };
  add("/v1/chat/completions", openai, chat_job);
  add("/v1/completions", openai, completion_job);
  add("/v1/responses", openai, responses_job);
  add("/v1/messages", anthropic, messages_job);
  router.add("POST", "/v1/messages/count_tokens", anthropic, [&context](Exchange& exchange) {
    return count_tokens(context, exchange);
  });
}

}  // namespace quern

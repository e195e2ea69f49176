// SPDX-License-Identifier: Apache-2.0
// Routes that speak: read the request off the io thread, let the engine say the text, send the
// sound as it is made.
#include <nlohmann/json.hpp>

#include "api/pooling_format.h"
#include "api/pooling_job.h"
#include "api/speech/utterance.h"
#include "server/route_context.h"

namespace quern {
namespace {

struct UtteranceJob {
  SpeechRequest request;
  std::vector<std::string> ignored;
  std::unique_ptr<Utterance> utterance;
  std::unique_ptr<SoundWriter> writer;
};

// Slow.
UtteranceJob make_utterance_job(RouteContext& context, Exchange& exchange) {
  UtteranceJob job;
  HttpRequest& http = exchange.request();
  const std::string body = std::move(http.body);
  job.request = SpeechRequest::parse(parse_json(body, "request body"), &job.ignored);
  check_model(context.service.info(), job.request.model);
  job.utterance = std::make_unique<Utterance>(context.service,
                                              format("{}-{:x}", http.id, ++context.generations),
                                              job.request,
                                              context.seeds.next(),
                                              exchange.waker());
  job.writer = std::make_unique<SoundWriter>(job.request.format, job.utterance->rate_hz());
  return job;
}

void poll(Utterance& utterance, RouteContext& context) {
  try {
    utterance.poll();
  } catch (const Error& e) {
    if (e.code() == ErrorCode::exhausted) context.metrics.count_rejection("queue_full");
    throw;
  }
}

// The next bytes of the file; the last ones where all is said. Empty where none are ripe yet.
Task<std::string> next_bytes(UtteranceJob& job, RouteContext& context, Exchange& exchange) {
  poll(*job.utterance, context);
  if (!job.utterance->has_work()) {
    co_await exchange.wait();
    co_return "";
  }
  std::string bytes;
  std::function<void()> work = [&] {
    bytes = job.writer->add(job.utterance->work());
    if (job.utterance->is_finished()) bytes += job.writer->finish();
  };
  co_await exchange.offload(std::move(work));
  co_return bytes;
}

std::string event_of(const Json& data) {
  return "data: " + data.dump() + "\n\n";
}

std::string sound_event(const std::string& bytes) {
  if (bytes.empty()) return "";
  return event_of({{"type", "speech.audio.delta"},
                   {"audio", base64_of(std::as_bytes(std::span(bytes)))}});
}

std::string last_event(const SpeechUsage& usage) {
  return event_of({{"type", "speech.audio.done"},
                   {"usage",
                    {{"input_tokens", usage.input_tokens},
                     {"output_tokens", usage.output_tokens},
                     {"total_tokens", usage.input_tokens + usage.output_tokens}}}});
}

// The answer begins with its first bytes: until then a failure has a status of its own. A later one
// ends a file too early, or is told in the last event.
Task<> answer(UtteranceJob& job, RouteContext& context, Exchange& exchange) {
  HttpResponse head;
  head.content_type = std::string(content_type_of(job.request.format));
  if (job.request.has_events) head = event_stream_head();
  std::string last;  // event: the end, or what failed
  while (exchange.is_open() && !job.utterance->is_finished()) {
    std::string bytes;
    try {
      bytes = co_await next_bytes(job, context, exchange);
    } catch (const Error& error) {
      if (!exchange.has_begun() || !job.request.has_events) throw;
      last = "data: " + to_json(api_error_of(error)) + "\n\n";
    }
    if (!last.empty()) break;
    if (job.request.has_events) bytes = sound_event(bytes);
    if (bytes.empty()) continue;
    if (!exchange.has_begun()) co_await exchange.begin_stream(head);
    co_await exchange.write(std::move(bytes));
  }
  if (!exchange.is_open()) co_return;
  if (!exchange.has_begun()) co_await exchange.begin_stream(head);  // of a file without a byte
  if (job.request.has_events) {
    if (last.empty()) last = last_event(job.utterance->usage());
    co_await exchange.write(std::move(last));
  }
  co_await exchange.end_stream();
}

Task<> speak(RouteContext& context, Exchange& exchange) {
  check_generates(context.service.info());
  UtteranceJob job;
  std::function<void()> work = [&] { job = make_utterance_job(context, exchange); };
  co_await exchange.offload(std::move(work));
  if (!exchange.is_open()) co_return;
  log_ignored(exchange.request().id, job.ignored);
  co_await answer(job, context, exchange);
  const SpeechUsage& usage = job.utterance->usage();
  exchange.log_note = format("input_tokens={} output_tokens={}{}",
                             usage.input_tokens,
                             usage.output_tokens,
                             usage.cut_pieces > 0 ? " cut" : "");
}

Task<> list_voices(RouteContext& context, Exchange& exchange) {
  Json names = Json::array();
  if (Speaker* speaker = context.service.speaker())
    for (const std::string& name : speaker->voice_names()) names.push_back(name);
  Json body;
  body["voices"] = std::move(names);
  HttpResponse response = json_response(body.dump());
  co_await exchange.respond(std::move(response));
}

}  // namespace

void add_utterance_routes(Router& router, RouteContext& context) {
  router.add("POST", "/v1/audio/speech", {.takes_json = true}, [&context](Exchange& exchange) {
    return speak(context, exchange);
  });
  router.add("GET", "/v1/audio/voices", {}, [&context](Exchange& exchange) {
    return list_voices(context, exchange);
  });
}

}  // namespace quern

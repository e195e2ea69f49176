// SPDX-License-Identifier: Apache-2.0
// Routes that write recordings down: read the form and decode the sound off the io thread, ask the
// engine window by window, answer whole or in events.
#include "api/pooling_job.h"
#include "api/speech/transcription.h"
#include "server/route_context.h"

namespace quern {
namespace {

struct SpeechJob {
  TranscriptFormat format = TranscriptFormat::json;
  bool stream = false;
  std::vector<std::string> ignored;
  std::unique_ptr<Transcription> transcription;
};

// Slow.
SpeechJob make_speech_job(RouteContext& context, Exchange& exchange, bool translates) {
  SpeechJob job;
  HttpRequest& http = exchange.request();
  const std::string body = std::move(http.body);
  TranscriptionRequest request = TranscriptionRequest::parse(
      parse_form_data(body, http.header("content-type")), translates, job.ignored);
  check_model(context.service.info(), request.model);
  job.format = request.format;
  job.stream = request.stream;
  job.transcription = make_transcription(context.service,
                                         format("{}-{:x}", http.id, ++context.generations),
                                         std::move(request),
                                         context.seeds.next(),
                                         exchange.waker());
  return job;
}

void poll(Transcription& transcription, RouteContext& context) {
  try {
    transcription.poll();
  } catch (const Error& e) {
    if (e.code() == ErrorCode::exhausted) context.metrics.count_rejection("queue_full");
    throw;
  }
}

Task<> answer_whole(SpeechJob& job, RouteContext& context, Exchange& exchange) {
  for (;;) {
    poll(*job.transcription, context);
    if (job.transcription->is_finished()) break;
    co_await exchange.wait();
    if (!exchange.is_open()) co_return;
  }
  TranscriptBody written = write_transcript(job.transcription->transcript(), job.format);
  HttpResponse response;
  response.content_type = std::move(written.content_type);
  response.body = std::move(written.body);
  co_await exchange.respond(std::move(response));
}

std::string event_of(const std::string& data) {
  return "data: " + data + "\n\n";
}

// What failed in the midst of a stream is told in its last event.
Task<> answer_in_events(SpeechJob& job, RouteContext& context, Exchange& exchange) {
  poll(*job.transcription, context);  // a full queue is an error of its own
  co_await exchange.begin_stream(event_stream_head());
  while (exchange.is_open()) {
    std::string events;
    bool is_over = false;
    try {
      poll(*job.transcription, context);
      const std::string text = job.transcription->take_text();
      if (!text.empty()) events = event_of(transcript_delta(text));
      is_over = job.transcription->is_finished();
      if (is_over)
        events += event_of(transcript_done(job.transcription->transcript())) + event_of("[DONE]");
    } catch (const Error& error) {
      events = event_of(to_json(api_error_of(error)));
      is_over = true;
    }
    co_await exchange.write(std::move(events));
    if (is_over) {
      co_await exchange.end_stream();
      co_return;
    }
    co_await exchange.wait();
  }
}

Task<> transcribe(RouteContext& context, Exchange& exchange, bool translates) {
  check_generates(context.service.info());
  SpeechJob job;
  std::function<void()> work = [&] { job = make_speech_job(context, exchange, translates); };
  co_await exchange.offload(std::move(work));
  if (!exchange.is_open()) co_return;
  log_ignored(exchange.request().id, job.ignored);
  if (job.stream)
    co_await answer_in_events(job, context, exchange);
  else
    co_await answer_whole(job, context, exchange);
  const TranscriptText& transcript = job.transcription->transcript();
  exchange.log_note =
      format("audio_seconds={:.1f} segments={}", transcript.seconds, transcript.segments.size());
}

}  // namespace

void add_speech_routes(Router& router, RouteContext& context) {
  for (const bool translates : {false, true})
    router.add("POST",
               translates ? "/v1/audio/translations" : "/v1/audio/transcriptions",
               {},
               [&context, translates](Exchange& exchange) {
                 return transcribe(context, exchange, translates);
               });
}

}  // namespace quern

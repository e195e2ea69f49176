// SPDX-License-Identifier: Apache-2.0
#include "api/speech/transcription.h"

#include "api/answer_format.h"
#include "api/api_error.h"
#include "api/failed_event.h"
#include "api/generation.h"
#include "api/speech/whisper_transcript.h"

namespace quern {
namespace {

TranscriptOptions transcript_options(const TranscriptionRequest& request,
                                     const Tokenizer& tokenizer,
                                     uint64_t seed) {
  TranscriptOptions o;
  o.language = request.language;
  o.translates = request.translates;
  o.has_times = request.has_times();
  if (!request.prompt.empty()) o.prompt = tokenizer.encode(" " + request.prompt);
  // A temperature that is asked for is the only one.
  if (request.temperature.value_or(0) > 0) o.temperatures = {*request.temperature};
  o.measures_silence = request.format == TranscriptFormat::verbose_json;
  o.most_tokens = request.max_tokens;
  o.seed = request.seed.value_or(seed);
  return o;
}

class WhisperTranscription final : public Transcription {
 public:
  WhisperTranscription(Service& service,
                       std::string id,
                       const TranscriptionRequest& request,
                       const Sound& sound,
                       const TranscriptOptions& options,
                       std::function<void()> notify)
      : service_(service),
        ears_(*service.whisper()),
        id_(std::move(id)),
        notify_(std::move(notify)),
        windows_(windows_of(ears_, sound, options)) {
    transcript_.translates = request.translates;
    transcript_.seconds = sound.seconds();
  }
  ~WhisperTranscription() override { cancel(); }
  WhisperTranscription(const WhisperTranscription&) = delete;
  WhisperTranscription& operator=(const WhisperTranscription&) = delete;

  void poll() override {
    while (!is_finished_) {
      if (!stream_) submit_next();
      if (!drain()) return;
    }
  }
  bool is_finished() const override { return is_finished_; }
  std::string take_text() override { return std::exchange(fresh_, ""); }
  const TranscriptText& transcript() const override { return transcript_; }
  double seconds_done() const override { return windows_.seconds_done(); }

 private:
  static WhisperTranscript windows_of(const WhisperEars& ears,
                                      const Sound& sound,
                                      const TranscriptOptions& options) {
    RecordingFrames frames = ears.sound.frames(sound.samples);
    const int64_t end = frames.heard;
    return {ears, std::move(frames), end, options};
  }

  void cancel() {
    if (!stream_) return;
    stream_->set_notify(nullptr);
    service_.cancel(part_id_);
  }

  // Without a next question the transcript is whole.
  void submit_next() {
    auto task = windows_.next();
    if (!task) {
      is_finished_ = true;
      transcript_.language = windows_.language();
      return;
    }
    Request request;
    request.id = part_id_ = format("{}-{}", id_, asked_++);
    request.prompt = std::make_shared<const Prompt>(
        ears_.sound.prompt(task->window, task->text, ears_.tokens.end));
    request.params = std::move(task->params);
    answer_ = {};
    stream_ = service_.submit(std::move(request));
    stream_->set_notify(notify_);  // what came before this is found by the next look
  }

  // True if the answer is whole.
  bool drain() {
    if (!stream_) return true;
    for (;;) {
      const bool is_last = stream_->is_finished();
      TokenEvent event;
      if (!stream_->try_pop(event)) {
        if (!is_last) return false;
        throw RequestError(ErrorCode::unavailable,
                           "",
                           "the engine broke off this request; try again",
                           "unavailable");
      }
      if (event.finish == FinishReason::error || event.finish == FinishReason::cancelled)
        fail_as(event);
      if (event.token >= 0) {
        answer_.tokens.push_back(event.token);
        answer_.logprobs.push_back(event.logprobs.empty() ? 0 : event.logprobs[0].logprob);
      }
      if (event.finish == FinishReason::none) continue;
      stream_.reset();
      windows_.take(answer_);
      show_new_pieces();
      return true;
    }
  }

  void show_new_pieces() {
    const auto& pieces = windows_.pieces();
    for (size_t i = transcript_.segments.size(); i < pieces.size(); ++i) {
      const SpeechPiece& piece = pieces[i];
      std::vector<int32_t> words;
      for (const int32_t token : piece.tokens)
        if (token < ears_.tokens.end) words.push_back(token);
      transcript_.segments.push_back({.start = std::min(piece.start, transcript_.seconds),
                                      .end = std::min(piece.end, transcript_.seconds),
                                      .text = service_.tokenizer().decode(words),
                                      .tokens = piece.tokens,
                                      .seek = piece.window,
                                      .temperature = piece.temperature,
                                      .mean_logprob = piece.mean_logprob,
                                      .compression = piece.compression,
                                      .no_speech = piece.no_speech});
      fresh_ += transcript_.segments.back().text;
    }
  }

  Service& service_;
  const WhisperEars& ears_;
  const std::string id_;
  const std::function<void()> notify_;
  WhisperTranscript windows_;
  TranscriptText transcript_;
  std::string part_id_, fresh_;
  std::shared_ptr<EventStream> stream_;  // of the question under way; null: none is
  WindowText answer_;
  int asked_ = 0;
  bool is_finished_ = false;
};

// A model that hears in conversations is asked once, for all of it.
class DictatedTranscription final : public Transcription {
 public:
  DictatedTranscription(Service& service,
                        std::string id,
                        const TranscriptionRequest& request,
                        uint64_t seed,
                        std::function<void()> notify)
      : generation_(service, std::move(id), TextOptions()),
        prompt_(service.prepare_dictation(request.file)),
        notify_(std::move(notify)) {
    params_.temperature = request.temperature.value_or(0);
    params_.seed = request.seed.value_or(seed);
    params_.stop_token_ids = service.defaults().eos_token_ids;
    const int64_t room = service.info().max_model_len - static_cast<int64_t>(prompt_->ids.size());
    if (room < 1)
      fail_field("file",
                 "file: the recording takes {} tokens, the model has room for {}",
                 prompt_->ids.size(),
                 service.info().max_model_len);
    params_.max_tokens = static_cast<int>(
        request.max_tokens > 0 ? std::min<int64_t>(request.max_tokens, room) : room);
    transcript_.seconds = seconds_of(*prompt_);
    transcript_.segments.push_back({.end = transcript_.seconds, .text = ""});
  }

  void poll() override {
    if (prompt_) {
      generation_.submit(std::exchange(prompt_, nullptr), params_, {});
      generation_.set_notify(notify_);
    }
    for (auto& [index, delta] : generation_.poll()) {
      if (has_failed(delta)) {
        const ApiError failure = failure_of(delta);
        throw RequestError(delta.error_code, "", failure.message, failure.code);
      }
      fresh_ += delta.text;
      transcript_.segments[0].text += delta.text;
    }
  }
  bool is_finished() const override { return !prompt_ && generation_.is_finished(); }
  std::string take_text() override { return std::exchange(fresh_, ""); }
  const TranscriptText& transcript() const override { return transcript_; }
  double seconds_done() const override { return is_finished() ? transcript_.seconds : 0; }

 private:
  // Frames are a hundredth of a second.
  static double seconds_of(const Prompt& prompt) {
    int64_t frames = 0;
    for (const MediaSpan& span : prompt.media) frames += span.media->valid_rows;
    return static_cast<double>(frames) / 100;
  }

  Generation generation_;
  std::shared_ptr<const Prompt> prompt_;  // until it is submitted
  const std::function<void()> notify_;
  SamplingParams params_;
  TranscriptText transcript_;
  std::string fresh_;
};

void check_dictation(const TranscriptionRequest& request) {
  const auto refuse = [](const char* field, const char* why) {
    throw RequestError(ErrorCode::unsupported, field, format("{}: {}", field, why), "unsupported");
  };
  if (request.translates)
    refuse("file", "this model writes down what it hears and translates nothing");
  if (!request.language.empty()) refuse("language", "this model takes none: it hears which it is");
  if (!request.prompt.empty()) refuse("prompt", "this model takes none");
  if (request.has_times())
    refuse("response_format", "this model tells no times; json and text need none");
}

}  // namespace

std::unique_ptr<Transcription> make_transcription(Service& service,
                                                  std::string id,
                                                  TranscriptionRequest request,
                                                  uint64_t seed,
                                                  std::function<void()> notify) {
  const WhisperEars* ears = service.whisper();
  if (!ears) {
    check_dictation(request);
    return std::make_unique<DictatedTranscription>(
        service, std::move(id), request, seed, std::move(notify));
  }
  const Sound sound = service.hear(std::move(request.file), ears->sound.rate_hz());
  return std::make_unique<WhisperTranscription>(
      service,
      std::move(id),
      request,
      sound,
      transcript_options(request, service.tokenizer(), seed),
      std::move(notify));
}

}  // namespace quern

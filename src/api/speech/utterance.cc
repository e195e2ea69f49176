// SPDX-License-Identifier: Apache-2.0
#include "api/speech/utterance.h"

#include <algorithm>
#include <utility>

#include "api/api_error.h"
#include "api/failed_event.h"
#include "text/spoken/pieces.h"

namespace quern {
namespace {

// Speech tokens per token of text: the reference's bounds, those of what the model was trained on.
constexpr int kLeastRatio = 2, kMostRatio = 20;

Speaker& speaker_of(Service& service) {
  if (Speaker* speaker = service.speaker()) return *speaker;
  throw RequestError(ErrorCode::unsupported,
                     "model",
                     "this model does not speak: serve one that does, such as GLM-TTS",
                     "unsupported");
}

std::shared_ptr<const Voice> voice_of(Speaker& speaker, const SpeechRequest& request) {
  if (request.recording.empty()) return speaker.voice(request.voice);
  return speaker.listen(request.recording, request.transcript);
}

}  // namespace

Utterance::Utterance(Service& service,
                     std::string id,
                     const SpeechRequest& request,
                     uint64_t seed,
                     std::function<void()> notify)
    : service_(service),
      speaker_(speaker_of(service)),
      id_(std::move(id)),
      notify_(std::move(notify)),
      voice_(voice_of(speaker_, request)),
      options_{.seed = request.seed.value_or(seed), .in_blocks = request.in_blocks},
      is_greedy_(request.is_greedy) {
  for (std::vector<int32_t>& text : speaker_.read(request.input)) {
    usage_.input_tokens += std::ssize(text);
    pieces_.push_back({.text = std::move(text), .speech = {}, .render = nullptr});
  }
}

Utterance::~Utterance() {
  if (!stream_) return;
  stream_->set_notify(nullptr);
  service_.cancel(part_id_);
}

void Utterance::poll() {
  while (saying_ < pieces_.size()) {
    if (!stream_) submit_next();
    const bool is_last = stream_->is_finished();
    TokenEvent event;
    if (stream_->try_pop(event)) {
      take(event);
      continue;
    }
    if (!is_last) return;
    throw RequestError(ErrorCode::unavailable,
                       "",
                       "the engine broke off this request; try again",
                       "unavailable");
  }
}

bool Utterance::has_work() const {
  return next_to_render().has_value();
}

// Pieces become sound one after the other: that is the order in which they are heard.
std::optional<size_t> Utterance::next_to_render() const {
  const auto piece = std::ranges::find(pieces_, false, &Piece::is_done);
  if (piece == pieces_.end()) return std::nullopt;
  const bool has_enough = piece->render && options_.in_blocks &&
                          piece->speech.size() - piece->rendered >= piece->render->wanted();
  if (!piece->is_said && !has_enough) return std::nullopt;
  return static_cast<size_t>(piece - pieces_.begin());
}

std::vector<float> Utterance::work() {
  const auto next = next_to_render();
  if (!next) return {};
  Piece& piece = pieces_[*next];
  const auto fresh = std::span(piece.speech).subspan(piece.rendered);
  std::vector<float> samples = piece.render->add(fresh, piece.is_said);
  piece.rendered = piece.speech.size();
  piece.is_done = piece.is_said;
  if (piece.is_done) piece.render.reset();
  return samples;
}

bool Utterance::is_finished() const {
  return std::ranges::all_of(pieces_, &Piece::is_done);
}

Request Utterance::request_for(const Piece& piece) const {
  std::vector<SaidPiece> before = {voice_->said()}, context;
  for (size_t i = 0; i < saying_; ++i) before.push_back({pieces_[i].text, pieces_[i].speech});
  std::vector<CachedPiece> lengths;
  for (const SaidPiece& said : before)
    lengths.push_back({std::ssize(said.text), std::ssize(said.speech)});
  for (const size_t i : kept_pieces(lengths, std::ssize(piece.text)))
    context.push_back(std::move(before[i]));
  const GlmTtsTokens& tokens = speaker_.tokens();
  Request request;
  request.prompt = std::make_shared<const Prompt>(speech_prompt(tokens, context, piece.text));
  const auto length = static_cast<int>(piece.text.size());
  const int64_t room = service_.info().max_model_len - std::ssize(request.prompt->ids);
  if (room <= kLeastRatio * length)
    fail_field("input",
               "input: a piece of {} tokens behind {} tokens of what was said before leaves room "
               "for {} of speech: the model has room for {} (--max-model-len)",
               length,
               std::ssize(request.prompt->ids) - length,
               std::max<int64_t>(room, 0),
               service_.info().max_model_len);
  request.params.repetition_aware = RepetitionAware{};
  request.params.temperature = is_greedy_ ? 0 : 1;
  request.params.seed = options_.seed;  // every piece from the beginning, as the reference does
  request.params.stop_token_ids = {tokens.end};
  request.params.min_tokens = kLeastRatio * length;
  request.params.max_tokens = static_cast<int>(std::min<int64_t>(kMostRatio * length, room));
  return request;
}

void Utterance::submit_next() {
  Piece& piece = pieces_[saying_];
  Request request = request_for(piece);
  request.id = part_id_ = format("{}-{}", id_, saying_);
  piece.render = speaker_.render(voice_, options_);
  stream_ = service_.submit(std::move(request));
  stream_->set_notify(notify_);  // what came before this is found by the next look
}

void Utterance::take(const TokenEvent& event) {
  if (event.finish == FinishReason::error || event.finish == FinishReason::cancelled)
    fail_as(event);
  const GlmTtsTokens& tokens = speaker_.tokens();
  Piece& piece = pieces_[saying_];
  if (tokens.is_speech(event.token)) {
    piece.speech.push_back(event.token - tokens.first);
    ++usage_.output_tokens;
  }
  if (event.finish == FinishReason::none) return;
  if (event.finish == FinishReason::length) ++usage_.cut_pieces;
  piece.is_said = true;
  stream_.reset();
  ++saying_;
}

}  // namespace quern

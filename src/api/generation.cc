// SPDX-License-Identifier: Apache-2.0
#include "api/generation.h"

#include <algorithm>

namespace quern {

Generation::Generation(Service& service,
                       std::string id,
                       const TextOptions& text,
                       ParserFactory make_parser)
    : service_(service), id_(std::move(id)), text_(text), make_parser_(std::move(make_parser)) {}

Generation::~Generation() {
  cancel();
}

void Generation::submit(std::shared_ptr<const Prompt> prompt,
                        const SamplingParams& params,
                        const SubmitOptions& options) {
  const int n = options.n;
  Part part;
  part.id = format("{}-{}", id_, parts_.size());
  part.first_choice = choice_count();
  part.n = n;
  part.prompt_tokens = static_cast<int64_t>(prompt->ids.size());
  Request request;
  request.id = part.id;
  request.prompt = part.prompt = std::move(prompt);
  request.params = params;
  request.n = n;
  request.priority = options.priority;
  request.cache_salt = options.cache_salt;
  part.stream = service_.submit(std::move(request));
  parts_.push_back(std::move(part));
  for (int i = 0; i < n; ++i)
    choices_.push_back(std::make_unique<StreamAssembler>(
        service_.tokenizer(), text_, make_parser_ ? make_parser_(choice_count()) : nullptr));
  has_begun_.resize(choices_.size(), false);
  running_choices_ += n;
}

void Generation::set_notify(std::function<void()> notify) {
  for (Part& part : parts_) part.stream->set_notify(notify);
}

// The event without a token that comes before all others holds the prompt's log-probabilities.
void Generation::take(Part& part, TokenEvent& event, std::vector<IndexedDelta>& out) {
  part.cached_tokens = std::max<int64_t>(part.cached_tokens, event.cached_tokens);
  if (event.token < 0 && event.finish == FinishReason::none) {
    part.scored = std::make_shared<const ScoredPrompt>(
        ScoredPrompt{part.prompt, std::move(event.prompt_logprobs), &service_.tokenizer()});
  } else if (event.choice >= 0 && event.choice < part.n) {
    push(part, event, out);
  }
}

void Generation::push(const Part& part, TokenEvent& event, std::vector<IndexedDelta>& out) {
  const int index = part.first_choice + event.choice;
  StreamAssembler& choice = *choices_[static_cast<size_t>(index)];
  if (choice.is_finished()) return;
  TextDelta delta = choice.push(event);
  if (choice.is_finished()) --running_choices_;
  if (delta.is_empty()) return;
  if (!has_begun_[static_cast<size_t>(index)]) delta.prompt = part.scored;
  has_begun_[static_cast<size_t>(index)] = true;
  out.push_back({index, std::move(delta)});
}

void Generation::drain(Part& part, std::vector<IndexedDelta>& out) {
  if (part.is_closed) return;
  const bool is_last =
      part.stream->is_finished();  // asked first: what came before the end is still taken
  // What comes meanwhile announces itself anew: an engine that is faster than this loop must not
  // keep it here, taking without end what no reader has room for.
  TokenEvent event;
  for (size_t waiting = part.stream->waiting(); waiting > 0 && part.stream->try_pop(event);
       --waiting)
    take(part, event, out);
  if (is_last) {
    TokenEvent lost;
    lost.finish = FinishReason::error;
    lost.error_code = ErrorCode::unavailable;
    lost.error = "the engine broke off this answer; try again";
    for (lost.choice = 0; lost.choice < part.n; ++lost.choice) push(part, lost, out);
  }
  const auto begin = choices_.begin() + part.first_choice;
  if (!std::all_of(begin, begin + part.n, [](const auto& c) { return c->is_finished(); })) return;
  part.is_closed = true;
  // A stop string ends an answer here, out of the engine's sight.
  if (std::any_of(begin, begin + part.n, [](const auto& c) { return c->has_stopped_early(); }))
    service_.cancel(part.id);
}

std::vector<Generation::IndexedDelta> Generation::poll() {
  std::vector<IndexedDelta> out;
  for (Part& part : parts_) drain(part, out);
  return out;
}

void Generation::cancel() {
  for (Part& part : parts_) {
    part.stream->set_notify(nullptr);
    if (!part.is_closed) service_.cancel(part.id);
    part.is_closed = true;
  }
}

Usage Generation::usage() const {
  Usage usage;
  for (const Part& part : parts_) {
    usage.prompt_tokens += part.prompt_tokens;
    usage.cached_tokens += part.cached_tokens;
  }
  for (const auto& choice : choices_) usage.completion_tokens += choice->token_count();
  return usage;
}

Usage Generation::usage_of(int choice) const {
  const auto owns = [choice](const Part& part) { return choice < part.first_choice + part.n; };
  const auto part = std::find_if(parts_.begin(), parts_.end(), owns);
  QUERN_CHECK(part != parts_.end());
  return {part->prompt_tokens,
          choices_[static_cast<size_t>(choice)]->token_count(),
          part->cached_tokens};
}

}  // namespace quern

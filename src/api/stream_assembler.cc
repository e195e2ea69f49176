// SPDX-License-Identifier: Apache-2.0
#include "api/stream_assembler.h"

#include <algorithm>

namespace quern {
namespace {

void join(std::vector<ToolCallDelta>& calls, std::vector<ToolCallDelta> pieces) {
  for (ToolCallDelta& piece : pieces) {
    if (calls.empty() || calls.back().index != piece.index)
      calls.push_back(std::move(piece));
    else
      calls.back().arguments += piece.arguments;
  }
}

}  // namespace

int64_t character_count(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  });
}

void TextDelta::append(TextDelta next) {
  text += next.text;
  reasoning += next.reasoning;
  join(tool_calls, std::move(next.tool_calls));
  tokens.insert(tokens.end(), next.tokens.begin(), next.tokens.end());
  scores.insert(scores.end(),
                std::make_move_iterator(next.scores.begin()),
                std::make_move_iterator(next.scores.end()));
  if (next.prompt) prompt = std::move(next.prompt);
  if (next.finish == FinishReason::none) return;
  finish = next.finish;
  called_tools = next.called_tools;
  stop_reason = std::move(next.stop_reason);
  error_code = next.error_code;
  error = std::move(next.error);
  error_reason = std::move(next.error_reason);
}

std::optional<StopMatcher::Match> StopMatcher::find(std::string_view pending, size_t seen) const {
  std::optional<Match> best;
  for (size_t i = 0; i < stops_.size(); ++i) {
    const std::string& stop = stops_[i];
    // A match that is new ends behind what was seen.
    const size_t from = seen + 1 > stop.size() ? seen + 1 - stop.size() : 0;
    const size_t at = pending.find(stop, from);
    if (at == std::string_view::npos) continue;
    const Match match{at, at + stop.size(), i};
    if (!best || match.end < best->end || (match.end == best->end && match.begin < best->begin))
      best = match;
  }
  return best;
}

size_t StopMatcher::held_back(std::string_view pending) const {
  size_t held = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, pending.size()); n > held; --n)
      if (pending.ends_with(std::string_view(stop).substr(0, n))) {
        held = n;
        break;
      }
  }
  return held;
}

StreamAssembler::StreamAssembler(const Tokenizer& tokenizer,
                                 TextOptions options,
                                 std::unique_ptr<AnswerParser> parser)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      detokenizer_(tokenizer, options_.skip_special_tokens, options_.shown_special_ids),
      stops_(options_.stop),
      parser_(std::move(parser)) {}

// The text that this token completes. The token that ended an answer is no part of it, unless stops
// are to be included.
std::string StreamAssembler::text_of(const TokenEvent& event) {
  if (event.token < 0) return {};
  const bool is_stop = event.finish == FinishReason::stop && event.stop_token == event.token;
  if (is_stop && !options_.include_stop) return {};
  return detokenizer_.push(event.token);
}

// Moves the first `bytes` of what waits into the delta.
void StreamAssembler::emit(TextDelta& delta, size_t bytes) {
  delta.text.append(pending_, 0, bytes);
  pending_.erase(0, bytes);
  looked_at_ = looked_at_ > bytes ? looked_at_ - bytes : 0;
  given_out_ += static_cast<int64_t>(bytes);
}

void StreamAssembler::release_tokens(TextDelta& delta, bool all) {
  while (!waiting_.empty() && (all || waiting_.front().text_end <= given_out_)) {
    delta.tokens.push_back(waiting_.front().token);
    if (waiting_.front().scores) delta.scores.push_back(std::move(*waiting_.front().scores));
    waiting_.pop_front();
  }
}

void StreamAssembler::finish(TextDelta& delta, const TokenEvent& event) {
  is_finished_ = true;
  delta.finish = event.finish;
  delta.error = event.error;
  delta.error_reason = event.error_reason;
  delta.error_code = event.error_code;
  const auto& named = options_.stop_token_ids;
  if (event.finish == FinishReason::stop &&
      std::find(named.begin(), named.end(), event.stop_token) != named.end())
    delta.stop_reason = event.stop_token;
}

// Decodes an event's token into pending_ and notes where its text ends.
void StreamAssembler::take(const TokenEvent& event) {
  std::string text = text_of(event);
  if (event.finish != FinishReason::none) text += detokenizer_.finish();
  const int64_t offset = decoded_characters_;
  decoded_ += static_cast<int64_t>(text.size());
  decoded_characters_ += character_count(text);
  pending_ += text;
  if (event.token < 0) return;
  ++token_count_;
  Waiting waiting{event.token, decoded_, std::nullopt};
  if (!event.logprobs.empty()) {
    waiting.scores = TokenScores{scored_token(tokenizer_, event.logprobs[0]), {}, offset};
    for (size_t i = 1; i < event.logprobs.size(); ++i)
      waiting.scores->top.push_back(scored_token(tokenizer_, event.logprobs[i]));
  }
  waiting_.push_back(std::move(waiting));
}

TextDelta StreamAssembler::push(const TokenEvent& event) {
  if (is_finished_) return {};
  TextDelta delta = next(event);
  if (parser_) parse(delta);
  return delta;
}

// Text → reasoning, content, tool calls.
void StreamAssembler::parse(TextDelta& delta) {
  AnswerDelta parsed = parser_->push(delta.text);
  if (!is_finished_ && parser_->is_complete()) {
    is_finished_ = has_stopped_early_ = true;
    delta.finish = FinishReason::stop;
    release_tokens(delta, true);
  }
  delta.text = std::move(parsed.content);
  delta.reasoning = std::move(parsed.reasoning);
  delta.tool_calls = std::move(parsed.tool_calls);
  if (is_finished_) {
    parsed = parser_->finish();
    delta.text += parsed.content;
    delta.reasoning += parsed.reasoning;
    join(delta.tool_calls, std::move(parsed.tool_calls));
  }
  has_called_ = has_called_ || !delta.tool_calls.empty();
  delta.called_tools = is_finished_ && has_called_;
}

// The next event's text as it is.
TextDelta StreamAssembler::next(const TokenEvent& event) {
  TextDelta delta;
  take(event);
  const bool is_end = event.finish != FinishReason::none;
  if (token_count_ <= options_.min_tokens && options_.min_tokens > 0) looked_at_ = pending_.size();
  if (const auto match = stops_.find(pending_, looked_at_)) {
    has_stopped_early_ = !is_end;
    is_finished_ = true;
    delta.finish = FinishReason::stop;
    delta.stop_reason = stops_.stop(match->which);
    emit(delta, options_.include_stop ? match->end : match->begin);
    release_tokens(delta, true);
    return delta;
  }
  looked_at_ = pending_.size();
  // An answer that ends by itself: what was held back is text after all.
  emit(delta, is_end ? pending_.size() : pending_.size() - stops_.held_back(pending_));
  release_tokens(delta, is_end);
  if (is_end) finish(delta, event);
  return delta;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/speech/whisper_transcript.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "sampling/speech_rules.h"

namespace quern {
namespace {

constexpr double kChance = 0.5;  // from this temperature on a text is not shown to the next window

std::shared_ptr<const SpeechRules> rules_of(const WhisperTokens& tokens, bool has_times) {
  auto rules = std::make_shared<SpeechRules>();
  rules->never = tokens.never;
  rules->never_first = tokens.never_first;
  rules->has_times = has_times;
  rules->end = tokens.end;
  rules->no_times = tokens.no_times;
  rules->first_time = tokens.first_time();
  rules->most_steps_before = tokens.most_steps_before;
  return rules;
}

// How many times shorter zlib makes the tokens: text that repeats itself is much shorter.
double compression_of(std::span<const int32_t> tokens, int64_t vocab_size) {
  if (tokens.empty()) return 0;
  const int bytes = static_cast<int>(std::log2(static_cast<double>(vocab_size)) / 8) + 1;
  std::vector<Bytef> raw;
  for (const int32_t token : tokens)
    for (int i = 0; i < bytes; ++i) raw.push_back(static_cast<Bytef>(token >> 8 * i));
  uLongf packed = compressBound(raw.size());
  std::vector<Bytef> out(packed);
  QUERN_CHECK(compress(out.data(), &packed, raw.data(), raw.size()) == Z_OK);
  return static_cast<double>(raw.size()) / static_cast<double>(packed);
}

std::string known_languages(const WhisperTokens& tokens) {
  std::string out;
  for (const auto& [name, id] : tokens.languages) out += (out.empty() ? "" : ", ") + name;
  return out;
}

void check_options(const WhisperTokens& tokens, const TranscriptOptions& options) {
  const bool is_english = tokens.languages.empty();
  if (options.translates && tokens.translate < 0)
    fail(ErrorCode::invalid_argument, "this Whisper knows English alone: it translates nothing");
  if (is_english && !options.language.empty() && options.language != "en")
    fail(ErrorCode::invalid_argument,
         "language: \"{}\": this Whisper knows English alone",
         options.language);
  if (!is_english && !options.language.empty() && !tokens.languages.contains(options.language))
    fail(ErrorCode::invalid_argument,
         "language: \"{}\": expected one of {}",
         options.language,
         known_languages(tokens));
  if (!options.prompt.empty() && tokens.previous < 0)
    fail(ErrorCode::invalid_argument, "prompt: this Whisper has no token for earlier text");
}

}  // namespace

WhisperTranscript::WhisperTranscript(const WhisperEars& ears,
                                     RecordingFrames recording,
                                     int64_t end,
                                     TranscriptOptions options)
    : ears_(ears),
      recording_(std::move(recording)),
      end_(std::min(end, recording_.count)),
      options_(std::move(options)) {
  check_options(ears_.tokens, options_);
  if (options_.temperatures.empty()) options_.temperatures = {0};
  options_.has_times = options_.has_times || end_ > ears_.sound.window_frames();
  rules_ = rules_of(ears_.tokens, options_.has_times);
  if (ears_.tokens.languages.empty())
    options_.language = "en";
  else if (options_.language.empty())
    ask_ = Ask::language;
  if (!is_over()) open_window(0);
}

double WhisperTranscript::seconds_done() const {
  return static_cast<double>(std::min(first_, end_)) * ears_.sound.frame_seconds();
}

void WhisperTranscript::open_window(int64_t first) {
  first_ = first;
  try_ = 0;
  no_speech_.reset();
  window_ = is_over() ? nullptr : ears_.sound.window(recording_, first_);
}

// What the model is to do, behind whatever it is shown.
std::vector<int32_t> WhisperTranscript::commands() const {
  const WhisperTokens& t = ears_.tokens;
  std::vector<int32_t> out{t.start};
  if (const auto language = t.languages.find(options_.language); language != t.languages.end())
    out.insert(out.end(), {language->second, options_.translates ? t.translate : t.transcribe});
  if (!options_.has_times) out.push_back(t.no_times);
  return out;
}

// At most half of the model's room, its newest part.
std::vector<int32_t> WhisperTranscript::earlier_text() const {
  const auto most = static_cast<size_t>(ears_.text_rows / 2 - 1);
  std::vector<int32_t> text;
  if (options_.shows_earlier_text && may_show_earlier_ && !pieces_.empty()) {
    for (const SpeechPiece& piece : pieces_) {
      const auto& tokens = piece.tokens;
      const bool ends_twice =
          tokens.size() > 2 && tokens[tokens.size() - 2] >= ears_.tokens.first_time();
      text.insert(text.end(), tokens.begin(), tokens.end() - (ends_twice ? 1 : 0));
    }
  } else {
    text = options_.prompt;
  }
  if (text.empty() || ears_.tokens.previous < 0) return {};
  if (text.size() > most) text.erase(text.begin(), text.end() - static_cast<ptrdiff_t>(most));
  text.insert(text.begin(), ears_.tokens.previous);
  return text;
}

int WhisperTranscript::room(size_t prompt) const {
  const auto left = static_cast<int>(ears_.text_rows) - static_cast<int>(prompt);
  const int most = options_.most_tokens > 0 ? std::min(options_.most_tokens, left) : left;
  return std::max(most, 1);
}

WindowTask WhisperTranscript::task_of(std::vector<int32_t> text, int most_tokens) const {
  WindowTask task{window_, std::move(text), {}};
  task.params.temperature = 0;
  task.params.max_tokens = most_tokens;
  task.params.logprobs = 0;
  return task;
}

std::optional<WindowTask> WhisperTranscript::next() const {
  if (is_over()) return std::nullopt;
  if (ask_ == Ask::text) {
    std::vector<int32_t> text = earlier_text();
    const std::vector<int32_t> told = commands();
    text.insert(text.end(), told.begin(), told.end());
    const int most = room(text.size());
    WindowTask task = task_of(std::move(text), most);
    task.params.temperature = options_.temperatures[try_];
    task.params.seed = options_.seed;
    task.params.stop_token_ids = {ears_.tokens.end};
    task.params.speech = rules_;
    return task;
  }
  // One token behind <|startoftranscript|>: the likeliest language, or how likely silence is.
  WindowTask task = task_of({ears_.tokens.start}, 1);
  if (ask_ == Ask::silence) task.params.allowed_token_ids = {ears_.tokens.no_speech};
  if (ask_ == Ask::language)
    for (const auto& [name, id] : ears_.tokens.languages)
      task.params.allowed_token_ids.push_back(id);
  return task;
}

void WhisperTranscript::take(const WindowText& text) {
  if (ask_ == Ask::language) return take_language(text);
  if (ask_ == Ask::silence) return take_silence(text);
  take_text(text);
}

void WhisperTranscript::take_language(const WindowText& text) {
  for (const auto& [name, id] : ears_.tokens.languages)
    if (!text.tokens.empty() && id == text.tokens.front()) options_.language = name;
  QUERN_CHECK(!options_.language.empty(), "the answer is no language");
  ask_ = Ask::text;
}

void WhisperTranscript::take_text(const WindowText& text) {
  last_ = {.tokens = text.tokens, .temperature = options_.temperatures[try_]};
  double sum = 0;
  for (const double logprob : text.logprobs) sum += logprob;
  if (!text.logprobs.empty()) last_.mean_logprob = sum / static_cast<double>(text.logprobs.size());
  last_.compression = compression_of(text.tokens, ears_.vocab_size);
  if (!last_.tokens.empty() && last_.tokens.back() == ears_.tokens.end) last_.tokens.pop_back();
  const bool decides = options_.least_no_speech && is_unlikely();
  if (!no_speech_ && (decides || options_.measures_silence))
    ask_ = Ask::silence;
  else
    judge();
}

void WhisperTranscript::take_silence(const WindowText& text) {
  no_speech_ = text.logprobs.empty() ? 0 : std::exp(text.logprobs.front());
  ask_ = Ask::text;
  judge();
}

bool WhisperTranscript::is_unlikely() const {
  return options_.least_logprob && last_.mean_logprob < *options_.least_logprob;
}

bool WhisperTranscript::is_repetitive() const {
  return options_.most_compression && last_.compression > *options_.most_compression;
}

void WhisperTranscript::judge() {
  const bool is_silent = options_.least_no_speech && is_unlikely() && no_speech_ &&
                         *no_speech_ > *options_.least_no_speech;
  if (is_silent) {
    may_show_earlier_ = last_.temperature < kChance;
    return open_window(first_ + std::min(end_ - first_, ears_.sound.window_frames()));
  }
  const bool can_try = try_ + 1 < options_.temperatures.size();
  if (can_try && (is_unlikely() || is_repetitive()))
    ++try_;
  else
    accept();
}

void WhisperTranscript::accept() {
  may_show_earlier_ = last_.temperature < kChance;
  open_window(first_ + cut_into_pieces());
}

void WhisperTranscript::add_piece(double start, double end, std::span<const int32_t> tokens) {
  const double begins = seconds_done();
  pieces_.push_back({.start = begins + start,
                     .end = begins + end,
                     .tokens = {tokens.begin(), tokens.end()},
                     .window = first_,
                     .temperature = last_.temperature,
                     .mean_logprob = last_.mean_logprob,
                     .compression = last_.compression,
                     .no_speech = no_speech_.value_or(0)});
}

// Adds the pieces of the window's text; returns how many frames they cover. A pair of times ends
// one piece and begins the next; what follows the last pair was cut by the window's end and is left
// to the next window.
int64_t WhisperTranscript::cut_into_pieces() {
  const std::span<const int32_t> tokens = last_.tokens;
  const int32_t zero = ears_.tokens.first_time();
  const auto is_time = [&](size_t i) { return tokens[i] >= zero; };
  const double step = ears_.sound.step_seconds();
  const auto seconds = [&](int32_t token) { return static_cast<double>(token - zero) * step; };
  const int64_t frames = std::min(end_ - first_, ears_.sound.window_frames());
  const size_t count = tokens.size();
  std::vector<size_t> ends;  // behind the first time of each pair
  for (size_t i = 0; i + 1 < count; ++i)
    if (is_time(i) && is_time(i + 1)) ends.push_back(i + 1);
  const bool ends_with_one = count >= 2 && !is_time(count - 2) && is_time(count - 1);
  if (ends.empty()) {
    double end = static_cast<double>(frames) * ears_.sound.frame_seconds();
    const auto last =
        std::find_if(tokens.rbegin(), tokens.rend(), [&](int32_t token) { return token >= zero; });
    if (last != tokens.rend() && *last != zero) end = seconds(*last);
    add_piece(0, end, tokens);
    return frames;
  }
  if (ends_with_one)
    ends.push_back(count);
  else
    ++ends.back();  // the second time of the last pair tells that the text went on
  size_t begin = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    const auto piece = tokens.subspan(begin, ends[i] - begin);
    const bool has_twin = i + 1 == ends.size() && !ends_with_one;
    add_piece(seconds(piece.front()), seconds(piece[piece.size() - (has_twin ? 2 : 1)]), piece);
    begin = ends[i];
  }
  if (ends_with_one) return frames;
  const int64_t frames_per_step = ears_.sound.window_frames() / ears_.sound.rows();
  // A text that ends where it began would be transcribed for ever.
  const int64_t covered = (tokens[begin - 2] - zero) * frames_per_step;
  return covered > 0 ? covered : frames;
}

}  // namespace quern

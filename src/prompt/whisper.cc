// SPDX-License-Identifier: Apache-2.0
#include "prompt/whisper.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "prompt/mel_files.h"
#include "prompt/picture_input.h"
#include "prompt/processor.h"

namespace quern {
namespace {

Config read_part(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name;
  return file_exists(path) ? Config::read(path) : Config::parse("{}", name);
}

int64_t encoder_rows(const Config& config) {
  return config.integer_or("max_source_positions", 1500, 1, 1 << 20);
}

MelShape mel_shape_of(const std::string& folder, const Config& config) {
  const MelShape shape = read_mel_shape(read_part(folder, "preprocessor_config.json"),
                                        config.integer_or("num_mel_bins", 80, 1, 512),
                                        2);
  if (shape.frames() != 2 * encoder_rows(config))
    fail(ErrorCode::data_loss,
         "{}: max_source_positions {}: windows of {} frames become {} rows",
         config.path(),
         encoder_rows(config),
         shape.frames(),
         shape.frames() / 2);
  return shape;
}

std::vector<int32_t> ids_in(const Config& generation, const char* key) {
  std::vector<int32_t> out;
  if (!generation.has(key)) return out;
  for (const Json& id : generation.json().at(key))
    if (id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() <= INT32_MAX)
      out.push_back(id.get<int32_t>());
    else
      fail(ErrorCode::data_loss, "{}: {}: expected token ids", generation.path(), key);
  return out;
}

// The token of this text, unless the file states another.
class TokenFinder {
 public:
  TokenFinder(const Config& generation, const Tokenizer& tokenizer)
      : generation_(generation), tokenizer_(tokenizer) {}

  int32_t called(const char* text) const { return tokenizer_.token_to_id(text).value_or(-1); }
  int32_t find(const char* key, const char* text) const {
    if (!generation_.has(key)) return called(text);
    return static_cast<int32_t>(generation_.integer(key, 0, tokenizer_.vocab_size() - 1));
  }
  int32_t need(const char* key, const char* text) const {
    const int32_t id = find(key, text);
    if (id < 0)
      fail(ErrorCode::data_loss,
           "{}: no {}, and the tokenizer knows no {}: these are not the files of a Whisper",
           generation_.path(),
           key,
           text);
    return id;
  }

 private:
  const Config& generation_;
  const Tokenizer& tokenizer_;
};

// "<|en|>" -> "en"
std::string bare(const std::string& token) {
  const bool is_marked = token.starts_with("<|") && token.ends_with("|>") && token.size() > 4;
  return is_marked ? token.substr(2, token.size() - 4) : token;
}

void add_languages(const Config& generation, int64_t vocab, WhisperTokens& tokens) {
  if (!generation.boolean_or("is_multilingual", true) || !generation.has("lang_to_id")) return;
  const Config stated = generation.sub("lang_to_id");
  for (const auto& [name, id] : stated.json().items())
    tokens.languages[bare(name)] = static_cast<int32_t>(stated.integer(name, 0, vocab - 1));
}

// Whisper hears recordings, and answers no conversations: what a chat message may hold it takes
// none of.
class WhisperProcessor final : public Processor {
 public:
  WhisperProcessor(const std::string& folder, const Config& config) : sound_(folder, config) {}

  std::optional<int32_t> placeholder(MediaKind) const override { return std::nullopt; }
  FrameRule frame_rule(const ProcessorOptions&) const override { return {}; }
  int64_t sound_rate_hz() const override { return sound_.rate_hz(); }
  int64_t count_tokens(const OpenedMedia&, const PromptRules&) const override { refuse(); }
  ResizedMedia resize(const OpenedMedia&, const PromptRules&) const override { refuse(); }
  std::vector<MediaPiece> pack(const ResizedMedia&) const override { refuse(); }
  MediaInput largest_medium(int64_t) const override { return sound_.empty_window(); }
  void place(Prompt& prompt, const PromptRules&) const override { place_text(prompt, 1); }

 private:
  [[noreturn]] static void refuse() {
    fail(ErrorCode::invalid_argument,
         "Whisper takes part in no conversation: send recordings to /v1/audio/transcriptions");
  }

  WhisperSound sound_;
};

}  // namespace

WhisperTokens WhisperTokens::read(const std::string& folder, const Tokenizer& tokenizer) {
  const Config generation = read_part(folder, "generation_config.json");
  const TokenFinder finder(generation, tokenizer);
  WhisperTokens t;
  t.start = finder.need("decoder_start_token_id", "<|startoftranscript|>");
  t.end = finder.need("eos_token_id", "<|endoftext|>");
  t.no_times = finder.need("no_timestamps_token_id", "<|notimestamps|>");
  t.previous = finder.find("prev_sot_token_id", "<|startofprev|>");
  t.no_speech = t.no_times - 1;  // as the reference finds it; older vocabularies say <|nocaptions|>
  t.never = ids_in(generation, "suppress_tokens");
  t.never_first = ids_in(generation, "begin_suppress_tokens");
  t.most_steps_before = static_cast<int32_t>(
      generation.integer_or("max_initial_timestamp_index", t.most_steps_before, 0, 1 << 20));
  add_languages(generation, tokenizer.vocab_size(), t);
  if (t.languages.empty()) return t;
  t.transcribe = finder.called("<|transcribe|>");
  t.translate = finder.called("<|translate|>");
  if (generation.has("task_to_id")) {
    const Config tasks = generation.sub("task_to_id");
    t.transcribe = static_cast<int32_t>(tasks.integer_or("transcribe", t.transcribe));
    t.translate = static_cast<int32_t>(tasks.integer_or("translate", t.translate));
  }
  return t;
}

WhisperSound::WhisperSound(const std::string& folder, const Config& config)
    : mel_(mel_shape_of(folder, config)), rows_(encoder_rows(config)) {}

RecordingFrames WhisperSound::frames(std::span<const float> samples) const {
  const MelShape& shape = mel_.shape();
  const auto count = static_cast<int64_t>(samples.size());
  RecordingFrames out;
  out.bands = shape.bands;
  out.values = count > shape.window ? mel_.whole(samples) : mel_(samples);
  out.count = static_cast<int64_t>(out.values.size()) / shape.bands;
  out.heard = std::min(out.count, (count + shape.hop - 1) / shape.hop);
  return out;
}

MediaInput WhisperSound::empty_window() const {
  MediaInput out;
  out.kind = MediaKind::audio;
  out.rows = window_frames();
  out.row_size = mel_.shape().bands;
  out.tokens = rows_;
  return out;
}

std::shared_ptr<const MediaInput> WhisperSound::window(const RecordingFrames& recording,
                                                       int64_t first) const {
  auto out = std::make_shared<MediaInput>(empty_window());
  const int64_t frames = std::clamp<int64_t>(recording.count - first, 0, out->rows);
  const auto begin = recording.values.begin() + first * recording.bands;
  out->values.assign(begin, begin + frames * recording.bands);
  out->values.resize(static_cast<size_t>(out->rows * out->row_size), 0.0f);
  out->valid_rows = std::clamp<int64_t>(recording.heard - first, 0, out->rows);
  out->hash = hash_of(*out);
  return out;
}

Prompt WhisperSound::prompt(std::shared_ptr<const MediaInput> window,
                            std::span<const int32_t> text,
                            int32_t filler) const {
  Prompt out;
  out.ids.assign(static_cast<size_t>(rows_), filler);
  out.ids.insert(out.ids.end(), text.begin(), text.end());
  out.media.push_back({std::move(window), 0, static_cast<int32_t>(rows_)});
  place_text(out, 1);
  return out;
}

std::unique_ptr<const WhisperEars> WhisperEars::open(const std::string& folder,
                                                     const Config& config,
                                                     const Tokenizer& tokenizer) {
  if (config.string_or("model_type", "") != "whisper") return nullptr;
  return std::make_unique<const WhisperEars>(
      WhisperEars{WhisperTokens::read(folder, tokenizer),
                  WhisperSound(folder, config),
                  config.integer_or("max_target_positions", 448, 1, 1 << 20),
                  config.integer("vocab_size", 1, 1 << 24)});
}

std::unique_ptr<Processor> open_whisper(const std::string& folder,
                                        const Config& config,
                                        const ProcessorOptions& options) {
  if (options != ProcessorOptions())
    fail(ErrorCode::invalid_argument,
         "mm_processor_kwargs: this model hears recordings; they have no such options");
  return std::make_unique<WhisperProcessor>(folder, config);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// GLM-ASR: a recording as windows of 30 seconds, each of them 3000 frames of 128 mel bands, however
// little of the last one is sound; four frames of the encoder, a twelfth of a second, are one
// token. Sources: transformers 5.23, processing_glmasr.py, feature_extraction_whisper.py.
//
//   <|begin_of_audio|><|pad|><|end_of_audio|>, 34 seconds, becomes
//   <|begin_of_audio|> 375 times <|pad|> (30 s), 50 times <|pad|> (4 s) <|end_of_audio|>
#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/log_mel.h"
#include "prompt/mel_files.h"
#include "prompt/picture_input.h"
#include "prompt/processor.h"

namespace quern {
namespace {

constexpr int32_t kAudioToken = 59260;
constexpr const char* kAudioText = "<|pad|>";
constexpr int64_t kMostSeconds = 655;  // that the class states
constexpr int64_t kMerge = 4;          // frames of the encoder that become one token

// The part about features: newer folders have it inside of processor_config.json, the oldest have
// none.
Config feature_config(const std::string& folder, const std::optional<Config>& processor) {
  if (processor)
    if (auto part = processor->find("feature_extractor")) return *part;
  const std::string path = folder + "/preprocessor_config.json";
  return file_exists(path) ? Config::read(path) : Config::parse("{}", "preprocessor_config.json");
}

std::optional<Config> processor_config(const std::string& folder) {
  const std::string path = folder + "/processor_config.json";
  if (!file_exists(path)) return std::nullopt;
  return Config::read(path);
}

// The encoder's frames fall into whole tokens.
MelShape mel_shape(const Config& features, const Config& config) {
  const int64_t bins = config.sub_or_self("audio_config").integer_or("num_mel_bins", 128, 1, 512);
  return read_mel_shape(features, bins, 2 * kMerge);
}

// None of them is about sound.
void refuse_options(const ProcessorOptions& options) {
  if (options != ProcessorOptions())
    fail(ErrorCode::invalid_argument,
         "mm_processor_kwargs: this model hears recordings; they have no such options");
}

class GlmAsr final : public Processor {
 public:
  GlmAsr(const std::string& folder, const Config& config, const ProcessorOptions& options)
      : GlmAsr(folder, processor_config(folder), config) {
    refuse_options(options);
  }

  std::optional<int32_t> placeholder(MediaKind kind) const override {
    if (kind != MediaKind::audio) return std::nullopt;
    return token_;
  }
  void check(const Tokenizer& tokenizer) const override {
    const auto id = tokenizer.token_to_id(token_text_);
    if (id != token_)
      fail(ErrorCode::data_loss,
           "{}: audio_token_id is {}, the tokenizer's {} is {}: the two files do not belong "
           "together",
           config_path_,
           token_,
           token_text_,
           id ? std::to_string(*id) : "absent");
  }
  FrameRule frame_rule(const ProcessorOptions& asked) const override {
    refuse_options(asked);
    return {};
  }
  int64_t sound_rate_hz() const override { return mel_.shape().rate_hz; }
  int64_t count_tokens(const OpenedMedia& media, const PromptRules& rules) const override {
    return tokens_of(heard_samples(media, rules));
  }
  ResizedMedia resize(const OpenedMedia& media, const PromptRules& rules) const override;
  std::vector<MediaPiece> pack(const ResizedMedia& media) const override;
  MediaInput largest_medium(int64_t) const override {
    MediaInput out = empty_window();
    out.tokens = tokens_of(mel_.shape().window);
    return out;
  }
  void place(Prompt& prompt, const PromptRules&) const override { place_text(prompt, 1); }

 private:
  GlmAsr(const std::string& folder, const std::optional<Config>& processor, const Config& config)
      : mel_(mel_shape(feature_config(folder, processor), config)),
        config_path_(config.path()),
        token_(
            static_cast<int32_t>(config.integer_or("audio_token_id", kAudioToken, 0, INT32_MAX))) {
    double most_seconds = kMostSeconds;
    if (processor) {
      token_text_ = processor->string_or("audio_token", kAudioText);
      most_seconds = processor->number_or("max_audio_len", kMostSeconds);
      if (!(most_seconds >= 1 && most_seconds <= 1e6))
        fail(ErrorCode::data_loss,
             "{}: max_audio_len {}: expected seconds, 1 to 1000000",
             processor->path(),
             most_seconds);
    }
    const auto window_seconds = static_cast<double>(mel_.shape().window / mel_.shape().rate_hz);
    most_windows_ = std::max<int64_t>(1, static_cast<int64_t>(most_seconds / window_seconds));
  }

  int64_t tokens_of_window(int64_t samples) const {
    return (mel_.frames_of(samples) + 1) / 2 / kMerge;
  }
  // Full windows are whole tokens: those of a recording are the sum of its windows'.
  int64_t tokens_of(int64_t samples) const {
    const int64_t window = mel_.shape().window;
    return samples / window * tokens_of_window(window) + tokens_of_window(samples % window);
  }
  int64_t heard_samples(const OpenedMedia& media, const PromptRules& rules) const;
  MediaInput empty_window() const {
    MediaInput out;
    out.kind = MediaKind::audio;
    out.rows = mel_.shape().frames();
    out.row_size = mel_.shape().bands;
    return out;
  }

  LogMel mel_;
  std::string config_path_;
  int32_t token_;
  std::string token_text_ = kAudioText;
  int64_t most_windows_ = 1;
};

// Of the samples those that the model hears.
int64_t GlmAsr::heard_samples(const OpenedMedia& media, const PromptRules& rules) const {
  const MelShape& shape = mel_.shape();
  if (media.kind != MediaKind::audio)
    fail(ErrorCode::invalid_argument, "this model hears recordings; it sees no pictures");
  QUERN_CHECK(media.sound.rate_hz == shape.rate_hz, "{} Hz", media.sound.rate_hz);
  const auto samples = static_cast<int64_t>(media.sound.samples.size());
  const int64_t most = most_windows_ * shape.window;
  if (samples > most && !rules.cut_long_recordings)
    fail(ErrorCode::invalid_argument,
         "recording of {:.1f} seconds: this model takes {} windows of {} seconds, {} seconds, in "
         "one prompt; send it in parts",
         media.sound.seconds(),
         most_windows_,
         shape.window / shape.rate_hz,
         most / shape.rate_hz);
  const int64_t heard = std::min(samples, most);
  if (tokens_of(heard) == 0)
    fail(
        ErrorCode::invalid_argument,
        "recording of {:.3f} seconds: it is too short, this model needs at least {:.3f}",
        media.sound.seconds(),
        static_cast<double>((2 * kMerge - 2) * shape.hop + 1) / static_cast<double>(shape.rate_hz));
  return heard;
}

ResizedMedia GlmAsr::resize(const OpenedMedia& media, const PromptRules& rules) const {
  const int64_t heard = heard_samples(media, rules);
  ResizedMedia out{.kind = MediaKind::audio, .frames = {}, .tokens = tokens_of(heard)};
  out.samples.assign(media.sound.samples.begin(), media.sound.samples.begin() + heard);
  return out;
}

// A last window that becomes no token is left out.
std::vector<MediaPiece> GlmAsr::pack(const ResizedMedia& media) const {
  std::vector<std::shared_ptr<MediaInput>> inputs;
  const auto window = static_cast<size_t>(mel_.shape().window);
  for (size_t at = 0; at < media.samples.size(); at += window) {
    const auto samples =
        std::span(media.samples).subspan(at, std::min(window, media.samples.size() - at));
    auto input = std::make_shared<MediaInput>(empty_window());
    input->tokens = tokens_of_window(static_cast<int64_t>(samples.size()));
    if (input->tokens == 0) continue;
    input->valid_rows = mel_.frames_of(static_cast<int64_t>(samples.size()));
    input->values = mel_(samples);
    // Of two windows that sound alike one may end later, in silence: it becomes more rows.
    input->hash = hash_chain(hash_of(*input), std::as_bytes(std::span(&input->tokens, 1)));
    input->part = static_cast<int32_t>(inputs.size());
    inputs.push_back(std::move(input));
  }
  std::vector<MediaPiece> pieces;
  for (const std::shared_ptr<MediaInput>& input : inputs) {
    input->parts = static_cast<int32_t>(inputs.size());
    pieces.push_back({.input = input});
  }
  return pieces;
}

}  // namespace

std::unique_ptr<Processor> open_glmasr(const std::string& folder,
                                       const Config& config,
                                       const ProcessorOptions& options) {
  return std::make_unique<GlmAsr>(folder, config, options);
}

}  // namespace quern

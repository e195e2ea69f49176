// SPDX-License-Identifier: Apache-2.0
// Whisper's side of a prompt: its view of a recording, and the tokens that tell it what to do.
//
//   [rows of a window] <|startofprev|> earlier text <|startoftranscript|><|en|><|transcribe|> …
//
// Sources: Radford et al. 2022, section 2.3; transformers 5.23, feature_extraction_whisper.py,
// generation_whisper.py.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "media/audio/log_mel.h"
#include "prompt/prompt.h"
#include "text/tokenizer/tokenizer.h"
#include "weights/config.h"

namespace quern {

struct WhisperTokens {
  int32_t start = -1, end = -1, no_times = -1;  // <|startoftranscript|>, <|endoftext|>, …
  // -1, or empty, where the model has none: those for English alone have neither task nor language.
  int32_t previous = -1, no_speech = -1, transcribe = -1, translate = -1;
  std::map<std::string, int32_t, std::less<>> languages;  // "en"
  std::vector<int32_t> never, never_first;                // the text holds none of them
  int32_t most_steps_before = 50;                         // first_time to the first time at most

  int32_t first_time() const { return no_times + 1; }  // 0.00 s; one more for each step

  // From generation_config.json in `folder`, if there is one, and what the tokenizer calls them.
  // Throws data_loss where either lacks what no Whisper is without.
  static WhisperTokens read(const std::string& folder, const Tokenizer& tokenizer);
};

// A recording as mel frames.
struct RecordingFrames {
  std::vector<float> values;  // [count, bands]
  int64_t count = 0, bands = 0;
  int64_t heard = 0;  // frames that begin inside of the sound; silence lies behind them
};

class WhisperSound {
 public:
  // `folder`: with preprocessor_config.json. Throws data_loss where it contradicts config.json.
  WhisperSound(const std::string& folder, const Config& config);

  int64_t rate_hz() const { return mel_.shape().rate_hz; }
  int64_t window_frames() const { return mel_.shape().frames(); }
  int64_t rows() const { return rows_; }  // of the encoder, of one window
  double frame_seconds() const {
    return static_cast<double>(mel_.shape().hop) / static_cast<double>(mel_.shape().rate_hz);
  }
  double step_seconds() const {  // between two tokens of time
    return frame_seconds() * static_cast<double>(window_frames()) / static_cast<double>(rows_);
  }

  // At least a window of frames: of a shorter recording with silence behind it.
  RecordingFrames frames(std::span<const float> samples) const;
  // The window that begins with frame `first`. Behind the recording's last frame it is filled with
  // zeros, as the reference does.
  std::shared_ptr<const MediaInput> window(const RecordingFrames& recording, int64_t first) const;
  // `filler` stands for the window's rows.
  Prompt prompt(std::shared_ptr<const MediaInput> window,
                std::span<const int32_t> text,
                int32_t filler) const;
  // The shape of a window, without values.
  MediaInput empty_window() const;

 private:
  LogMel mel_;
  int64_t rows_;
};

// What of a checkpoint is needed to transcribe with it.
struct WhisperEars {
  WhisperTokens tokens;
  WhisperSound sound;
  int64_t text_rows = 448;  // tokens that the model has room for behind a window
  int64_t vocab_size = 0;

  // Null where `config` is no Whisper's. Throws as reading the parts does.
  static std::unique_ptr<const WhisperEars> open(const std::string& folder,
                                                 const Config& config,
                                                 const Tokenizer& tokenizer);
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// WhisperTranscript: how a recording becomes text, window by window. It says what the decoder is to
// be asked next and takes the answer; who asks, an engine or a lone model, is not its business.
//
//   language?  ->  window: text at temperature 0, at 0.2, … until it is sound  ->  next window
//                          begins where the last whole piece of speech ended
//
// Sources: Radford et al. 2022, section 4.5; transformers 5.23, generation_whisper.py.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "prompt/whisper.h"
#include "sampling/sampling_params.h"

namespace quern {

struct TranscriptOptions {
  std::string language = {};  // "en"; empty: what the model hears, where it knows several
  bool translates = false;    // into English
  bool has_times = false;     // of pieces; recordings of more than one window have them in any case
  std::vector<int32_t> prompt = {};  // text before the recording, without <|startofprev|>
  bool shows_earlier_text = false;   // each window is told the text of those before
  std::vector<double> temperatures = {0, 0.2, 0.4, 0.6, 0.8, 1};
  // A text is tried again at the next temperature where its tokens are less likely on average, or
  // its bytes more repetitive; empty: it is not.
  std::optional<double> least_logprob = -1, most_compression = 2.4;
  // A window whose text is that unlikely is skipped where silence is likelier than this.
  std::optional<double> least_no_speech = 0.6;
  bool measures_silence = false;  // always; else where it decides
  int most_tokens = 0;            // of a window; 0: what the model has room for
  uint64_t seed = 0;
};

// Speech between two times.
struct SpeechPiece {
  double start = 0, end = 0;         // seconds
  std::vector<int32_t> tokens = {};  // times included
  int64_t window = 0;                // frame at which its window begins
  double temperature = 0, mean_logprob = 0, compression = 0, no_speech = 0;
};

// A question to the decoder, and its answer.
struct WindowTask {
  std::shared_ptr<const MediaInput> window;
  std::vector<int32_t> text;  // behind the window
  SamplingParams params;
};
struct WindowText {
  std::vector<int32_t> tokens;   // the end of the text included, if it came
  std::vector<double> logprobs;  // of each
};

class WhisperTranscript {
 public:
  // `ears` must outlive it. Frames up to `end` are transcribed (recording.heard: up to where the
  // sound ends). Throws invalid_argument for a language or task that the model does not know.
  WhisperTranscript(const WhisperEars& ears,
                    RecordingFrames recording,
                    int64_t end,
                    TranscriptOptions options);

  // What is to be asked next; nothing when the transcript is whole.
  std::optional<WindowTask> next() const;
  // The answer to it.
  void take(const WindowText& text);

  const std::vector<SpeechPiece>& pieces() const { return pieces_; }
  const std::string& language() const { return options_.language; }
  double seconds_done() const;

 private:
  enum class Ask : uint8_t { language, text, silence };
  struct Try {
    std::vector<int32_t> tokens = {};
    double temperature = 0, mean_logprob = 0, compression = 0;
  };

  bool is_over() const { return first_ >= end_; }
  std::vector<int32_t> commands() const;
  std::vector<int32_t> earlier_text() const;
  int room(size_t prompt) const;
  WindowTask task_of(std::vector<int32_t> text, int most_tokens) const;
  void take_language(const WindowText& text);
  void take_text(const WindowText& text);
  void take_silence(const WindowText& text);
  bool is_unlikely() const;
  bool is_repetitive() const;
  void judge();
  void accept();
  void open_window(int64_t first);
  void add_piece(double start, double end, std::span<const int32_t> tokens);
  int64_t cut_into_pieces();

  const WhisperEars& ears_;
  RecordingFrames recording_;
  int64_t end_;
  TranscriptOptions options_;
  std::shared_ptr<const SpeechRules> rules_;

  Ask ask_ = Ask::text;
  int64_t first_ = 0;  // frame at which the window at hand begins
  std::shared_ptr<const MediaInput> window_;
  size_t try_ = 0;  // of the temperatures
  Try last_;
  std::optional<double> no_speech_;
  bool may_show_earlier_ = true;  // what came before is no result of chance
  std::vector<SpeechPiece> pieces_;
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Speech cases of Whisper: mel frames, encoder, decoder, and transcripts of whole recordings by the
// rules that the server transcribes by.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "api/speech/whisper_transcript.h"
#include "base/file.h"
#include "media/audio/sound.h"
#include "sampling/sampler.h"
#include "verify/compare.h"
#include "verify/judges.h"
#include "verify/model_case.h"

namespace quern {
namespace {

const std::set<std::string, std::less<>> kKnownParts = {"input_features",
                                                        "input_features_at_3000",
                                                        "input_features_first_16",
                                                        "encoder_rows",
                                                        "encoder_last_hidden",
                                                        "decoder_input_ids",
                                                        "decoder_hidden_last_pos",
                                                        "logits",
                                                        "first_logits",
                                                        "ids"};
constexpr Bound kFeatureBound{1e-3, 1e-3};

// [bands, frames] of the frames [first, first + count), as the reference lays them out.
std::vector<float> turned(const RecordingFrames& recording, int64_t first, int64_t count) {
  std::vector<float> out;
  for (int64_t band = 0; band < recording.bands; ++band)
    for (int64_t frame = first; frame < first + count; ++frame)
      out.push_back(recording.values.at(static_cast<size_t>(frame * recording.bands + band)));
  return out;
}

// What a transcript asked of the decoder in one window, and the answer.
struct WindowLog {
  int64_t first_frame;
  std::vector<int64_t> ids;  // as the decoder saw and said them, without the end
};

std::unique_ptr<const WhisperEars> open_ears(const GoldenCase& golden, const Config& config) {
  auto ears = WhisperEars::open(golden.folder(), config, Tokenizer::from_folder(golden.folder()));
  if (!ears) fail(ErrorCode::unsupported, "{}: no Whisper", config.path());
  return ears;
}

class WhisperJudge {
 public:
  WhisperJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden),
        mode_(mode),
        report_(report),
        case_(golden, mode),
        ears_(open_ears(golden, case_.checkpoint().config())),
        tokens_(ears_->tokens),
        sound_(ears_->sound) {
    const Json& tolerance = golden_.expected().at("tolerance");
    const bool is_exact = mode.activation == Activation::f32;
    const Json stated = tolerance.at(is_exact ? "float32" : "bfloat16");
    bound_ = {stated.at("atol").get<double>(),
              stated.value("rtol", 0.0),
              stated.value("mean_abs_limit", 0.0)};
  }

  void run() {
    for (const auto& [name, input] : golden_.expected().at("inputs").items())
      judge_input(name, input);
    for (const Json& run : golden_.expected().at("runs")) {
      const std::string field = run.at("name").get<std::string>() + ".ids";
      judge_field(report_, field, [&] { judge_run(field, run); });
    }
    for (const std::string& name : golden_.names())
      if (!kKnownParts.contains(name.substr(name.find('.') + 1)))
        report_.add({.field = name, .note = "unknown field"});
  }

 private:
  const RecordingFrames& recording_of(const std::string& name) {
    if (const auto known = recordings_.find(name); known != recordings_.end()) return known->second;
    const Json& input = golden_.expected().at("inputs").at(name);
    std::vector<float> samples;
    for (const Json& file : input.at("files")) {
      const std::string bytes = read_file(golden_.file("inputs/" + file.get<std::string>()));
      const Sound sound = decode_sound(std::as_bytes(std::span(bytes)), sound_.rate_hz());
      samples.insert(samples.end(), sound.samples.begin(), sound.samples.end());
    }
    // "one file followed by the next, repeated and cut"
    const size_t period = samples.size(), wanted = input.value("samples", period);
    if (period == 0 || wanted > size_t{1} << 26)
      fail(ErrorCode::data_loss, "inputs.{}: {} samples of {}", name, wanted, period);
    samples.reserve(wanted);
    while (samples.size() < wanted) samples.push_back(samples[samples.size() - period]);
    samples.resize(wanted);
    return recordings_.emplace(name, sound_.frames(samples)).first->second;
  }

  void judge_input(const std::string& name, const Json& input) {
    const auto judge = [&](const std::string& part, auto&& body) {
      const std::string field = name + "." + part;
      if (golden_.has(field)) judge_field(report_, field, [&] { body(field); });
    };
    judge("input_features", [&](const std::string& f) { judge_frames(f, name, 0); });
    judge("input_features_first_16", [&](const std::string& f) { judge_frames(f, name, 0); });
    judge("input_features_at_3000", [&](const std::string& f) {  // around it
      judge_frames(f, name, 3000 - golden_.floats(f).dim(1) / 2);
    });
    if (input.contains("feature_frames"))
      report_.add_exact(name + ".feature_frames",
                        1,
                        input.at("feature_frames") != recording_of(name).count,
                        format("{} frames", recording_of(name).count));
    judge("encoder_last_hidden", [&](const std::string& f) { judge_encoder(f, name); });
    judge("logits", [&](const std::string& f) { judge_decoder(f, name); });
    judge("first_logits", [&](const std::string& f) { judge_first(f, name); });
  }

  void judge_frames(const std::string& field, const std::string& name, int64_t first) {
    const Tensor wanted = golden_.floats(field);
    const RecordingFrames& made = recording_of(name);
    const std::vector<float> got = turned(made, first, wanted.dim(1));
    report_.add(compare_values(field, got, wanted.span<float>(), kFeatureBound));
    const bool has_silence = golden_.expected().contains("padding_mel_value") && first == 0 &&
                             wanted.dim(1) > made.heard;
    if (!has_silence) return;
    const std::vector<float> silence = turned(made, wanted.dim(1), made.count - wanted.dim(1));
    const std::vector<float> stated(silence.size(),
                                    golden_.expected().at("padding_mel_value").get<float>());
    report_.add(compare_values(field + ".silence", silence, stated, kFeatureBound));
  }

  // The frames that are stored, and the stated silence behind them.
  std::vector<MediaSpan> stored_window(const std::string& name) {
    const Tensor stored = golden_.floats(name + ".input_features");
    auto media = std::make_shared<MediaInput>(*sound_.window(recording_of(name), 0));
    std::ranges::fill(media->values, golden_.expected().at("padding_mel_value").get<float>());
    for (int64_t band = 0; band < stored.dim(0); ++band)
      for (int64_t frame = 0; frame < stored.dim(1); ++frame)
        media->values.at(static_cast<size_t>(frame * media->row_size + band)) =
            stored.data<float>()[band * stored.dim(1) + frame];
    return {{media, 0, static_cast<int32_t>(media->tokens)}};
  }

  void judge_encoder(const std::string& field, const std::string& name) {
    const Tensor hidden = case_.encode(stored_window(name)).at(0).embeds,
                 wanted = golden_.floats(field);
    std::vector<float> got;
    for (const int64_t row : golden_.integers(name + ".encoder_rows")) {
      const auto values = hidden.slice(0, row, row + 1).span<float>();
      got.insert(got.end(), values.begin(), values.end());
    }
    report_.add(compare_values(field, got, wanted.span<float>(), bound_));
  }

  Decoded decode(const std::string& name, const std::vector<int32_t>& text) {
    const std::vector<MediaSpan> media = stored_window(name);
    std::vector<int32_t> positions;
    for (size_t i = 0; i < text.size(); ++i)
      positions.push_back(static_cast<int32_t>(sound_.rows()) + static_cast<int32_t>(i));
    return case_.decode(
        sound_.prompt(media[0].media, text, tokens_.end), media, case_.encode(media), positions);
  }

  void judge_decoder(const std::string& field, const std::string& name) {
    std::vector<int32_t> text;
    for (const int64_t id : golden_.integers(name + ".decoder_input_ids"))
      text.push_back(static_cast<int32_t>(id));
    const Decoded decoded = decode(name, text);
    report_.add(compare_values(field, decoded.logits, golden_.floats(field).span<float>(), bound_));
    const std::string hidden_field = name + ".decoder_hidden_last_pos";
    if (!golden_.has(hidden_field)) return;
    std::vector<float> hidden;
    for (const auto& layer : decoded.hidden_last)
      hidden.insert(hidden.end(), layer.begin(), layer.end());
    report_.add(
        compare_values(hidden_field, hidden, golden_.floats(hidden_field).span<float>(), bound_));
  }

  void judge_first(const std::string& field, const std::string& name) {
    const Decoded decoded = decode(name, {tokens_.start});
    report_.add(compare_values(field, decoded.logits, golden_.floats(field).span<float>(), bound_));
    const Json& expected = golden_.expected();
    if (!expected.contains("no_speech_probability") || mode_.activation != Activation::f32) return;
    double sum = 0;
    const float most = *std::ranges::max_element(decoded.logits);
    for (const float x : decoded.logits) sum += std::exp(double{x} - double{most});
    const double silence =
        std::exp(double{decoded.logits[static_cast<size_t>(tokens_.no_speech)]} - double{most}) /
        sum;
    report_.add(compare_values("no_speech_probability",
                               std::vector{static_cast<float>(silence)},
                               std::vector{expected.at("no_speech_probability").get<float>()},
                               {0, 2 * bound_.atol}));
  }

  WindowText answer(const WindowTask& task) {
    const Prompt prompt = sound_.prompt(task.window, task.text, tokens_.end);
    Sampler sampler(task.params, 0, {});
    std::vector<int32_t> history = prompt.ids;
    WindowText out;
    const auto pick = [&](std::span<float> row) -> std::optional<int32_t> {
      const SampledToken sampled = sampler.next(row, {history, prompt.ids.size()});
      history.push_back(sampled.token);
      out.tokens.push_back(sampled.token);
      out.logprobs.push_back(sampled.logprobs.at(0).logprob);
      const auto& ends = task.params.stop_token_ids;
      if (std::ranges::find(ends, sampled.token) != ends.end()) return std::nullopt;
      return sampled.token;
    };
    case_.continue_with(
        prompt, prompt.media, case_.encode(prompt.media), task.params.max_tokens, pick);
    return out;
  }

  static TranscriptOptions options_of(const Json& run) {
    const Json& stated = run.at("options");
    TranscriptOptions o;
    o.language = stated.value("language", "");
    o.translates = stated.value("task", "") == "translate";
    o.has_times = stated.value("return_timestamps", false);
    o.shows_earlier_text = stated.value("condition_on_prev_tokens", false);
    o.most_tokens = run.at("max_new_tokens").get<int>();
    o.temperatures = {0};
    o.least_logprob = o.most_compression = o.least_no_speech = std::nullopt;
    const auto prompt = run.value("prompt_ids", std::vector<int32_t>());
    if (!prompt.empty())
      o.prompt.assign(prompt.begin() + 1, prompt.end());  // it begins with its mark
    return o;
  }

  // Times and tokens are compared where no choice was closer than what this mode may differ by.
  bool is_bound(const Json& run) const {
    const double least = (mode_.activation == Activation::f32 ? 2 : 1) * bound_.atol;
    const Json gap = run.value("min_timestamp_rule_gap", Json());
    return mode_.activation != Activation::int8 && run.at("min_margin").get<double>() >= least &&
           (!gap.is_number() || gap.get<double>() >= least);
  }

  void judge_run(const std::string& field, const Json& run) {
    if (!is_bound(run))
      return report_.add({.field = field, .note = "a choice was closer than this mode's bound"});
    const RecordingFrames& recording = recording_of(run.at("input").get<std::string>());
    // To the end of the last window, as the reference does: silence too.
    WhisperTranscript transcript(*ears_, recording, recording.count, options_of(run));
    std::vector<WindowLog> log;
    while (const auto task = transcript.next()) {
      const auto first =
          static_cast<int64_t>(std::llround(transcript.seconds_done() / sound_.frame_seconds()));
      const WindowText text = answer(*task);
      if (task->params.speech) {
        log.push_back({first, {task->text.begin(), task->text.end()}});
        for (const int32_t token : text.tokens)
          if (token != tokens_.end) log.back().ids.push_back(token);
      }
      transcript.take(text);
    }
    compare_run(field, run, transcript, log);
  }

  void compare_run(const std::string& field,
                   const Json& run,
                   const WhisperTranscript& transcript,
                   const std::vector<WindowLog>& log) {
    std::vector<int64_t> ids;
    int64_t different = 0;
    for (const SpeechPiece& piece : transcript.pieces())
      ids.insert(ids.end(), piece.tokens.begin(), piece.tokens.end());
    const auto wanted = run.at("ids").get<std::vector<int64_t>>();
    report_.add_exact(field,
                      static_cast<int64_t>(wanted.size()),
                      ids != wanted,
                      format("expected {}, got {}", Json(wanted).dump(), Json(ids).dump()));
    const Json windows = run.value("windows", Json::array());
    for (size_t i = 0; i < windows.size(); ++i)
      different += i >= log.size() || windows[i].at("first_frame") != log[i].first_frame ||
                   windows[i].at("ids") != Json(log[i].ids);
    report_.add_exact(field + ".windows",
                      static_cast<int64_t>(windows.size()),
                      different + (windows.size() != log.size()),
                      format("{} windows, expected {}", log.size(), windows.size()));
    if (run.contains("detected_language"))
      report_.add_exact(field + ".detected_language",
                        1,
                        run.at("detected_language") != transcript.language(),
                        transcript.language());
    if (run.contains("segments")) compare_pieces(field + ".segments", run, transcript);
  }

  void compare_pieces(const std::string& field,
                      const Json& run,
                      const WhisperTranscript& transcript) {
    const auto& pieces = transcript.pieces();
    std::vector<float> got, wanted;
    for (const Json& segment : run.at("segments"))
      for (const char* end : {"start", "end"}) wanted.push_back(segment.at(end).get<float>());
    for (const SpeechPiece& piece : pieces)
      for (const double end : {piece.start, piece.end}) got.push_back(static_cast<float>(end));
    report_.add(compare_values(field, got, wanted, {.atol = 1e-4}));
  }

  const GoldenCase& golden_;
  const VerifyMode& mode_;
  Report& report_;
  ModelCase case_;
  const std::unique_ptr<const WhisperEars> ears_;
  const WhisperTokens& tokens_;
  const WhisperSound& sound_;
  Bound bound_;
  std::map<std::string, RecordingFrames> recordings_;
};

}  // namespace

void judge_whisper(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  WhisperJudge(golden, mode, report).run();
}

}  // namespace quern

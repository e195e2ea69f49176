// SPDX-License-Identifier: Apache-2.0
// Cases of a whole chain that speaks: a voice's recording and its text in; prompts, tokens, mel
// frames, pitch and the joined waves out, a piece of text after the other.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "api/speech/glm_tts_networks.h"
#include "base/file.h"
#include "prompt/glm_tts.h"
#include "sampling/sampler.h"
#include "verify/field_bound.h"
#include "verify/judges.h"
#include "verify/model_case.h"

namespace quern {
namespace {

const std::set<std::string, std::less<>> kKnownFields = {
    "prompt_audio_16k", "prompt_speech_tokens", "prompt_mel", "embedding", "wav"};
const std::set<std::string, std::less<>> kKnownParts = {
    "llm_input_ids", "tokens", "first_logits", "mel", "noise", "f0"};

class SpeechChainJudge {
 public:
  SpeechChainJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden),
        report_(report),
        case_(golden, mode),
        tokens_(GlmTtsTokens::read(case_.prompts().tokenizer())),
        owned_({.threads = mode.threads, .isa = mode.isa, .activation = mode.activation}),
        networks_(golden.folder(), owned_.ctx()) {}

  void run() {
    judge_field(report_, "prompt_audio_16k", [&] { judge_recording(); });
    const Json& expected = golden_.expected();
    const auto speech = golden_.integers("prompt_speech_tokens");
    voice_.tokens.assign(speech.begin(), speech.end());
    voice_.mel = values_of("prompt_mel");
    voice_.speaker = values_of("embedding");
    said_.push_back({encode(expected.at("prompt_text")), voice_.tokens});
    for (const Json& run : expected.at("runs")) {
      const std::string name = run.at("name").get<std::string>();
      judge_field(report_, name + ".tokens", [&] { judge_piece(name, run); });
    }
    judge_field(report_, "wav", [&] { compare("wav", wave_); });
    for (const std::string& name : golden_.names())
      if (!kKnownFields.contains(name) && !kKnownParts.contains(name.substr(name.find('.') + 1)))
        report_.add({.field = name, .note = "unknown field"});
  }

 private:
  std::vector<float> values_of(const std::string& field) const {
    const Tensor stored = golden_.floats(field);
    const auto values = stored.span<float>();
    return {values.begin(), values.end()};
  }
  std::vector<int32_t> encode(const Json& text) {
    return case_.prompts().tokenizer().encode(text.get<std::string>(),
                                              {.add_special_tokens = false});
  }
  void compare(const std::string& field, std::span<const float> got) {
    report_.add(compare_field(golden_, field, got, owned_.ctx().activation));
  }

  // What the recording says of the voice, by what this build makes of the file. The speaker vector
  // is given: a case of its own judges the encoder.
  void judge_recording() {
    const std::string file = read_file(golden_.file("inputs/prompt.wav"));
    InProcessDecoder decoder;
    const ReferenceSound sound =
        reference_sound(decoder, std::as_bytes(std::span(file)), kVocoderRateHz);
    compare("prompt_audio_16k", sound.tokenized);
    compare("prompt_mel", MagnitudeMel({})(sound.played));
    const std::vector<int32_t> made = open_speech_tokenizer(
        golden_.folder(), owned_.ctx())(owned_.ctx(), sound.tokenized);
    const auto wanted = golden_.integers("prompt_speech_tokens");
    report_.add_exact("prompt_speech_tokens",
                      std::ssize(wanted),
                      !std::ranges::equal(wanted, made),
                      "tokens differ");
  }

  std::vector<int32_t> say(const std::string& name, const Json& run, const Prompt& prompt) {
    SamplingParams params;
    params.temperature = 0;
    params.stop_token_ids = {tokens_.end};
    params.min_tokens = run.at("min_len").get<int>();
    params.max_tokens = run.at("max_len").get<int>();
    Sampler sampler(params, 0, none_);
    std::vector<int32_t> history = prompt.ids, out;
    const auto pick = [&](std::span<float> row) -> std::optional<int32_t> {
      if (out.empty()) compare(name + ".first_logits", row);
      const int32_t token = sampler.next(row, {history, prompt.ids.size()}).token;
      if (token == tokens_.end) return std::nullopt;
      history.push_back(token);
      out.push_back(token - tokens_.first);
      return token;
    };
    case_.continue_with(prompt, {}, {}, params.max_tokens, pick);
    return out;
  }

  void judge_piece(const std::string& name, const Json& run) {
    const std::vector<int32_t> text = encode(run.at("text"));
    const Prompt prompt = speech_prompt(tokens_, said_, text);
    const auto ids = golden_.integers(name + ".llm_input_ids");
    report_.add_exact(name + ".llm_input_ids",
                      std::ssize(ids),
                      !std::ranges::equal(ids, prompt.ids),
                      "ids differ");
    const std::vector<int32_t> made = say(name, run, prompt);
    const auto wanted = golden_.integers(name + ".tokens");
    report_.add_exact(name + ".tokens",
                      std::ssize(wanted),
                      !std::ranges::equal(wanted, made),
                      format("{} tokens, expected {}", made.size(), wanted.size()));
    // What follows is judged on the reference's tokens.
    const std::vector<int32_t> spoken(wanted.begin(), wanted.end());
    const std::vector<float> noise = values_of(name + ".noise");
    Ctx& ctx = owned_.ctx();
    const Tensor mel =
        networks_.flow.sample(ctx, networks_.input(voice_, spoken), {.noise = noise});
    compare(name + ".mel", mel.span<float>());
    compare(name + ".f0", networks_.vocoder.pitch(ctx, mel));
    const std::vector<float> wave = networks_.vocoder(ctx, mel).wave;
    wave_.insert(wave_.end(), wave.begin(), wave.end());
    said_.push_back({text, spoken});
  }

  const GoldenCase& golden_;
  Report& report_;
  ModelCase case_;
  const GlmTtsTokens tokens_;
  OwnedCtx owned_;
  const SpeakingNetworks networks_;
  const LogitHook none_;
  VoicePrint voice_;
  std::vector<SaidPiece> said_;
  std::vector<float> wave_;
};

}  // namespace

void judge_speech_chain(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  SpeechChainJudge(golden, mode, report).run();
}

}  // namespace quern

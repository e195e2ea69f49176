// SPDX-License-Identifier: Apache-2.0
// Cases of GLM-TTS: each holds some of its networks, and is judged by what is in its folder.
#include "base/file.h"
#include "verify/judges.h"

namespace quern {

void judge_glm_tts(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  const auto has = [&](std::string_view name) {
    const std::string path = golden.file(name);
    return file_exists(path) || is_directory(path);
  };
  if (has("llm") && has("flow") && has("hift"))
    return judge_speech_chain(golden, mode, report);
  if (has("llm")) judge_speech_tokens(golden, mode, report);
  if (has("flow")) judge_flow(golden, mode, report);
  if (has("hift")) judge_vocoder(golden, mode, report);
  if (has("campplus.safetensors") || has("campplus.onnx")) judge_speaker(golden, mode, report);
  if (has("text.jsonl")) judge_spoken_text(golden, report);
  if (has("speech_tokenizer")) judge_prompt_features(golden, mode, report);
}

}  // namespace quern

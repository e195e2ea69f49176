// SPDX-License-Identifier: Apache-2.0
// One judge per kind of case, by the rules of tests/golden/README.md, "How to judge a case".
#pragma once

#include "model_options.h"
#include "nn/thread_ranks.h"
#include "verify/golden_case.h"
#include "verify/report.h"

namespace quern {

// How model cases are run.
struct VerifyMode {
  Activation activation = Activation::f32;
  Isa isa = Isa::scalar;
  int threads = 1;
  Degrees degrees = {};
};

void judge_tokenizer(const GoldenCase& golden, Report& report);
void judge_chat_template(const GoldenCase& golden, Report& report);
void judge_jinja(const GoldenCase& golden, Report& report);
void judge_image_resize(const GoldenCase& golden, Report& report);
void judge_sampling(const GoldenCase& golden, Report& report);
void judge_convert(const GoldenCase& golden, Report& report);
void judge_model(const GoldenCase& golden, const VerifyMode& mode, Report& report);
void judge_whisper(const GoldenCase& golden, const VerifyMode& mode, Report& report);
// What is made of a voice's recording: mel frames, filter bank and speech tokens.
void judge_prompt_features(const GoldenCase& golden, const VerifyMode& mode, Report& report);
void judge_speaker(const GoldenCase& golden, const VerifyMode& mode, Report& report);
// The text of a speech case: text.jsonl and prompt_cache.json.
void judge_spoken_text(const GoldenCase& golden, Report& report);
void judge_flow(const GoldenCase& golden, const VerifyMode& mode, Report& report);
void judge_vocoder(const GoldenCase& golden, const VerifyMode& mode, Report& report);
// By the parts that a case holds; what follows judges one each.
void judge_glm_tts(const GoldenCase& golden, const VerifyMode& mode, Report& report);
void judge_speech_chain(const GoldenCase& golden, const VerifyMode& mode, Report& report);
void judge_speech_tokens(const GoldenCase& golden, const VerifyMode& mode, Report& report);

// Counts equal rows of one field of a table of cases.
class RowCounter {
 public:
  // `what` describes the row where it differs.
  void compare(bool is_equal, const std::string& what) {
    ++compared_;
    if (is_equal) return;
    if (different_++ == 0) first_ = what;
  }
  void report_to(Report& report, const std::string& field) const {
    if (compared_ > 0) report.add_exact(field, compared_, different_, first_);
  }

 private:
  int64_t compared_ = 0, different_ = 0;
  std::string first_;
};

}  // namespace quern

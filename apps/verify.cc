// SPDX-License-Identifier: Apache-2.0
// quern verify: holds this build on this machine to stored reference numbers. Dispatches on a
// case's kind, never on its name.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/log.h"
#include "commands.h"
#include "exit_codes.h"
#include "model_options.h"
#include "verify/judge_degrees.h"
#include "verify/judges.h"

namespace quern {
namespace {

struct VerifyOptions {
  std::string folder;
  std::vector<std::string> only;
  ModelOptions model;
  std::string activation = "f32";
  DegreeOptions degrees;
  bool json = false;
};

VerifyMode mode_of(const VerifyOptions& o) {
  const Topology machine = probe_topology();
  VerifyMode mode;
  mode.isa = chosen_isa(o.model, machine);
  mode.threads = o.model.threads > 0 ? o.model.threads : machine.physical_cores;
  mode.activation = chosen_activation(o.activation, mode.isa);
  mode.degrees = {.tensor = o.model.tensor_parallel_size,
                  .stages = o.model.pipeline_parallel_size,
                  .proportions = {}};
  return mode;
}

void judge(const VerifyOptions& o, Report& report) {
  if (!o.degrees.degrees.empty()) {
    DegreeOptions degrees = o.degrees;
    degrees.stages = o.model.pipeline_parallel_size;
    return judge_degrees(o.folder, mode_of(o), degrees, report);
  }
  const GoldenCase golden(o.folder);
  const std::string kind = golden.kind();
  if (kind == "tokenizer") return judge_tokenizer(golden, report);
  if (kind == "chat_template") return judge_chat_template(golden, report);
  if (kind == "jinja") return judge_jinja(golden, report);
  if (kind == "image_resize") return judge_image_resize(golden, report);
  if (kind == "sampling") return judge_sampling(golden, report);
  if (kind == "model") return judge_model(golden, mode_of(o), report);
  const std::string family = golden.expected().value("family", "");
  if (kind == "convert") return judge_convert(golden, report);
  if (kind == "speech" && family == "whisper") return judge_whisper(golden, mode_of(o), report);
  if (kind == "speech" && family == "glm_tts") return judge_glm_tts(golden, mode_of(o), report);
  fail(ErrorCode::unsupported,
       "kind {} (family {}): this build judges tokenizer, chat_template, jinja, image_resize, "
       "sampling, model, convert, and speech of Whisper and GLM-TTS",
       kind,
       family);
}

int verify(const VerifyOptions& o) {
  set_log_level(LogLevel::warn);
  Report report(o.only);
  try {
    judge(o, report);
  } catch (const Error& error) {
    report.add_obstacle("case", error);
  } catch (const std::exception& error) {  // a stored field of a wrong type
    report.add_obstacle("case", Error(ErrorCode::data_loss, error.what()));
  }
  std::fputs(o.json ? (report.json(o.folder) + "\n").c_str() : report.text().c_str(), stdout);
  return report.exit_code();
}

}  // namespace

void add_verify_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<VerifyOptions>();
  CLI::App* command = parent.add_subcommand(
      "verify", "hold this build on this machine to stored reference numbers");
  command->add_option("DIR", o->folder, "a folder laid out as tests/golden/README.md says")
      ->required();
  command
      ->add_option(
          "--only", o->only, "judge these fields alone: logits, dequant, one_image.input_ids, …")
      ->delimiter(',');
  command->add_option("--activation", o->activation, "f32, bf16, f16 or int8")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16", "f16", "int8"}));
  command->add_option(
      "--isa",
      o->model.isa,
      "highest instruction set to use: scalar, avx2, avx512, avx512_vnni, avx512_bf16, amx");
  command->add_option("--threads", o->model.threads, "kernel threads; 0: one per physical core")
      ->check(CLI::Range(0, 1024));
  command
      ->add_option("--tensor-parallel-size",
                   o->model.tensor_parallel_size,
                   "judge the model on this many ranks (-tp), which are threads here")
      ->check(CLI::Range(1, 64));
  command
      ->add_option("--pipeline-parallel-size",
                   o->model.pipeline_parallel_size,
                   "and in this many stages (-pp)")
      ->check(CLI::Range(1, 64));
  command
      ->add_option("--degrees",
                   o->degrees.degrees,
                   "instead hold the model on 1,2,3,… ranks to itself on one: logits and tokens; "
                   "DIR may then be any model")
      ->delimiter(',')
      ->check(CLI::Range(1, 64));
  command->add_option("--steps", o->degrees.steps, "tokens that follow each prompt of --degrees")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  command->add_flag("--json", o->json, "one JSON object");
  command->callback([o, &exit_code] { exit_code = verify(*o); });
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// quern quantize: a checkpoint in fewer bits, in the files of other engines.
#include "quantize/quantizer/quantize.h"
#include "base/json.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "calibration_set.h"
#include "command_line.h"
#include "commands.h"
#include "compare/quantize_report.h"
#include "compare/table.h"
#include "eval/text_eval.h"
#include "exit_codes.h"
#include "model_options.h"
#include "model_source.h"
#include "version.h"
#include "weights/checkpoint.h"

namespace quern {
namespace {

struct QuantizeOptions {
  std::string model, out, scheme, layout, max_memory, isa;
  int64_t group = 0;
  bool symmetric = false, range_search = false, act_order = false, resume = false, json = false;
  double damping = 0.01, smoothing = -1;
  std::vector<std::string> ignored;
  PaddingChoice padding;
  CalibrationChoice calibration;
  bool measures = false;
  compare::CompareRequest measuring;
  int threads = 0;
  std::string log_level = "warn";
};

void show(const QuantizeProgress& p) {
  if (::isatty(STDERR_FILENO) == 0) return;
  constexpr int kWidth = 30;
  const int full = static_cast<int>(kWidth * p.done / std::max<int64_t>(1, p.all));
  std::fprintf(stderr,
               "\r[%s%s] %lld of %lld",
               std::string(static_cast<size_t>(full), '#').c_str(),
               std::string(static_cast<size_t>(kWidth - full), '.').c_str(),
               static_cast<long long>(p.done),
               static_cast<long long>(p.all));
  if (p.seconds_left > 0)
    std::fprintf(stderr,
                 ", %d:%02d left ",
                 static_cast<int>(p.seconds_left) / 60,
                 static_cast<int>(p.seconds_left) % 60);
  if (p.done == p.all) std::fprintf(stderr, "\n");
}

// Unset unless typed.
int choice_of(const CLI::App& command, const char* flag, bool value) {
  return command.get_option(flag)->count() == 0 ? -1 : static_cast<int>(value);
}

QuantizeRequest request_of(const QuantizeOptions& o, const CLI::App& command) {
  QuantizeRequest r;
  r.scheme = parse_scheme(o.scheme,
                          {.group = o.group,
                           .symmetric = choice_of(command, "--symmetric", o.symmetric),
                           .layout = o.layout,
                           .searches_ranges = choice_of(command, "--range-search", o.range_search),
                           .has_act_order = o.act_order,
                           .damping = o.damping,
                           .smoothing = o.smoothing,
                           .is_without_texts = o.calibration.file == kNoTexts});
  r.model = find_model(o.model).path;
  r.out = o.out;
  r.ignored = o.ignored;
  r.padding = o.padding;
  if (!o.max_memory.empty()) r.max_memory = parse_count(o.max_memory, "--max-memory");
  ModelOptions machine;
  machine.isa = o.isa;
  const Topology topology = probe_topology();
  r.machine = {.threads = o.threads > 0 ? o.threads : std::max(1, topology.physical_cores),
               .isa = chosen_isa(machine, topology),
               .activation = Activation::f32};
  r.tool = "quern " + std::string(kVersion);
  r.progress = show;
  r.before_publishing = compare::add_static_report;
  if (o.resume && !is_directory(o.out + ".part"))
    fail(ErrorCode::invalid_argument, "--resume: there is no {}.part to go on with", o.out);
  if (r.scheme.needs_calibration()) {
    const auto checkpoint = open_checkpoint(r.model);
    const auto prompts = with_context(
        r.scheme.is_float() ? "--calibration none does without texts" : "calibration texts",
        [&] { return PromptBuilder::open(r.model, *checkpoint); });
    r.calibration = read_calibration(*prompts, o.calibration);
  } else if (!o.calibration.file.empty() && o.calibration.file != kNoTexts) {
    fail(ErrorCode::invalid_argument, "--calibration: {} looks at weights alone", o.scheme);
  }
  return r;
}

// With the threads and instructions that quantize itself was told to use.
compare::CompareRequest measuring_of(const QuantizeOptions& o) {
  compare::CompareRequest out = o.measuring;
  out.a = out.b = o.model;
  if (o.threads > 0) out.flags.insert(out.flags.end(), {"--threads", std::to_string(o.threads)});
  if (!o.isa.empty()) out.flags.insert(out.flags.end(), {"--isa", o.isa});
  return out;
}

double megabytes(const Json& bytes) {
  return 1e-6 * bytes.get<double>();
}

void print(const QuantizeOptions& o, const Json& report) {
  double sum = 0, worst = -1;
  size_t counted = 0;  // matrices of experts that no text reached have no outputs
  std::string where;
  const bool is_calibrated = report["calibration_tokens"].get<int64_t>() > 0;
  const char* const kind = is_calibrated ? "output_error" : "weight_error";
  for (const auto& [name, layer] : report["layers"].items()) {
    if (!layer.contains(kind)) continue;
    const double error = layer.at(kind).get<double>();
    sum += error;
    ++counted;
    if (error > worst) worst = error, where = name;
  }
  std::printf("%s: %zu linear layers as %s, %.1f MB -> %.1f MB\n",
              o.out.c_str(),
              report["layers"].size(),
              o.scheme.c_str(),
              megabytes(report["source_bytes"]),
              megabytes(report["bytes"]));
  for (const auto& [key, sizes] : report["padded"].items())
    std::printf("%s: %lld -> %lld\n",
                key.c_str(),
                static_cast<long long>(sizes[0].get<int64_t>()),
                static_cast<long long>(sizes[1].get<int64_t>()));
  std::printf("relative squared error of %s: %.3g on average, %.3g at most (%s)\n",
              is_calibrated ? "outputs" : "weights",
              sum / static_cast<double>(std::max<size_t>(1, counted)),
              worst,
              where.c_str());
  if (const auto blind = report["rounded_to_nearest"].get<int64_t>(); blind > 0)
    std::printf(
        "matrices rounded to nearest, as too few tokens reached them: %lld; more "
        "--calibration-tokens would help\n",
        static_cast<long long>(blind));
}

int run_quantize(const QuantizeOptions& o, const CLI::App& command) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error of write()
  set_log_level(parse_log_level(o.log_level));
  const compare::CompareRequest measuring = measuring_of(o);
  if (o.measures) compare::check(measuring);
  Json report = quantize(request_of(o, command));
  if (!o.json) print(o, report);
  if (o.measures) {
    report["measured"] = with_context(
        format("{} is written; measuring it failed (quern compare does that again)", o.out),
        [&] { return compare::add_measured_report(o.out, o.model, measuring); });
    if (!o.json) std::fputs(compare::table_text(report["measured"]["table"]).c_str(), stdout);
  }
  if (o.json)
    std::printf("%s\n", json_text(report).c_str());
  else
    std::printf("%s/%s\n", o.out.c_str(), compare::kReportPage);
  return kExitDone;
}

void add_scheme_options(CLI::App& command, QuantizeOptions& o) {
  command.add_option("--scheme", o.scheme, "how the weights are rounded")
      ->required()
      ->check(CLI::IsMember(scheme_names()));
  command.add_option(
      "--group-size", o.group, "inputs that share a scale: 32, 64, 128, or -1 for all; int4, int8");
  command.add_flag("--symmetric,!--asymmetric",
                   o.symmetric,
                   "no zero points, or zero points; default: those of AWQ alone");
  command
      .add_option("--format",
                  o.layout,
                  "whose files are written: awq (int4), gptq, compressed-tensors; default: the "
                  "scheme's own, for rtn compressed-tensors")
      ->check(CLI::IsMember({"awq", "gptq", "compressed-tensors"}));
  command.add_flag("--range-search,!--no-range-search",
                   o.range_search,
                   "shrink a group's range where that lowers its error; default: awq and gptq do");
  command.add_option("--ignore",
                     o.ignored,
                     "leave a linear layer as it is: a name, a part of it between dots "
                     "(down_proj, layers.0), or re:PATTERN; may be repeated");
  command.add_flag("--act-order", o.act_order, "GPTQ and fp8: round inputs in order of importance");
  command
      .add_option(
          "--damping", o.damping, "GPTQ and fp8: added to the Hessian, of its mean diagonal")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 10.0));
  command
      .add_option(
          "--smoothing",
          o.smoothing,
          "w8a8-int8: how much of the inputs' range moves into the weights (SmoothQuant), 0 "
          "(nothing) to 1; default: 0.5")
      ->check(CLI::Range(0.0, 1.0));
}

void add_padding_options(CLI::App& command, PaddingChoice& c) {
  auto* multiple = command
                       .add_option("--intermediate-multiple",
                                   c.multiple,
                                   "pad the gated MLP's inner width with zeros to a multiple of N "
                                   "(and of whole groups); experts' widths too")
                       ->check(CLI::Range(1, 1 << 20));
  command
      .add_option("--for-tp",
                  c.degrees,
                  "pad it to the smallest width that gives whole groups to each rank at all of "
                  "these degrees: 2,4,8")
      ->delimiter(',')
      ->excludes(multiple);
}

void add_calibration_options(CLI::App& command, CalibrationChoice& c) {
  command.add_option("--calibration",
                     c.file,
                     "what all but rtn run through the model: a text file, or .jsonl of "
                     "{\"text\"} or {\"messages\"}, with pictures or without; none: fp8 and w8a8 "
                     "look at weights alone, quickly and less exactly; default: a small set that "
                     "is built in");
  command.add_option("--calibration-tokens", c.tokens, "at most so many tokens of it")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{64}, int64_t{1} << 24));
  command.add_option("--calibration-length", c.length, "tokens of a sequence, at most")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{16}, int64_t{1} << 16));
  command.add_option("--seed", c.seed, "of the order in which documents are taken")
      ->capture_default_str();
}

void add_measuring_options(CLI::App& command, QuantizeOptions& o) {
  CLI::Option* measure = command.add_flag(
      "--measure",
      o.measures,
      "afterwards measure size, memory, speed, perplexity and divergence against MODEL, for the "
      "report");
  o.measuring.text = eval::kBuiltInText;
  command
      .add_option("--text",
                  o.measuring.text,
                  "of --measure: a file, or built-in: prose that no calibration is done with")
      ->capture_default_str()
      ->needs(measure);
  command
      .add_option(
          "--tasks", o.measuring.tasks, "of --measure: files of questions too (docs/eval.md)")
      ->needs(measure);
  command
      .add_option("--device",
                  o.measuring.device,
                  "of --measure: what quern plan says of it: [N x] rtx3090, a100-80g, …")
      ->needs(measure);
}

}  // namespace

void add_quantize_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<QuantizeOptions>();
  CLI::App* command = parent.add_subcommand(
      "quantize",
      "write a checkpoint in fewer bits, as AWQ, GPTQ, compressed-tensors or FP8 files");
  command
      ->add_option(
          "MODEL", o->model, "folder, .gguf file, name in the Hugging Face cache, or smollm2-135m")
      ->required();
  command->add_option("OUT", o->out, "the folder to write; must not exist")->required();
  add_scheme_options(*command, *o);
  add_padding_options(*command, o->padding);
  add_calibration_options(*command, o->calibration);
  add_measuring_options(*command, *o);
  command->add_flag(
      "--resume",
      o->resume,
      "only go on with an interrupted run; without it that is done where there is one");
  command->add_option("--max-memory", o->max_memory, "refuse to begin if it takes more (8G)");
  command->add_option("--threads", o->threads, "0: one per physical core")->capture_default_str();
  command->add_option("--isa", o->isa, "caps the instruction sets: avx2, avx512_vnni, …");
  command->add_flag("--json", o->json, "print the report as JSON");
  command->add_option("--log-level", o->log_level, "debug, info, warn, error or off")
      ->capture_default_str();
  command->callback([o, command, &exit_code] { exit_code = run_quantize(*o, *command); });
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// quern eval: perplexity of a text.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "base/log.h"
#include "commands.h"
#include "exit_codes.h"
#include "loaded_model.h"
#include "nn/sequence_runner.h"

namespace quern {
namespace {

constexpr int64_t kChunk = 128;  // tokens whose logits are held at one time

struct EvalOptions {
  ModelOptions model;
  std::string text, last_logits;
  int64_t max_tokens = 100'000, context = 1024;
  bool json = false;
};

// Minus the log-probability of `token` under softmax(row).
double surprise(std::span<const float> row, int32_t token) {
  const float top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x) - top);
  return std::log(sum) + top - row[static_cast<size_t>(token)];
}

struct Score {
  double total = 0;         // nats
  int64_t count = 0;        // tokens scored
  std::vector<float> last;  // logits behind the last token
};

// Scores every token of a window but its first.
void score_window(SequenceRunner& runner, std::span<const int32_t> ids, Score& score) {
  runner.clear();
  const auto length = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < length; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, length);
    std::vector<int32_t> positions(static_cast<size_t>(end - begin)), rows(positions.size());
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(begin));
    std::iota(rows.begin(), rows.end(), 0);
    const Tensor logits =
        runner.prefill({.ids = ids.subspan(static_cast<size_t>(begin), positions.size()),
                        .positions = positions,
                        .media = {}},
                       rows);
    const auto vocab = static_cast<size_t>(logits.dim(1));
    for (int64_t i = begin; i < end; ++i) {
      const std::span<const float> row =
          logits.span<float>().subspan(static_cast<size_t>(i - begin) * vocab, vocab);
      if (i + 1 < length)
        score.total += surprise(row, ids[static_cast<size_t>(i + 1)]), ++score.count;
      else
        score.last.assign(row.begin(), row.end());
    }
  }
}

void write_floats(const std::string& path, const std::vector<float>& values) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  out.close();
  if (!out) fail(ErrorCode::unavailable, "--last-logits {}: cannot be written", path);
}

int eval(const EvalOptions& o) {
  set_log_level(parse_log_level(o.model.log_level));
  const OpenedModel opened = open_model(o.model);
  std::vector<int32_t> ids =
      opened.prompts->tokenizer().encode(read_file(o.text), {.add_special_tokens = false});
  ids.resize(std::min(ids.size(), static_cast<size_t>(o.max_tokens)));
  if (ids.empty()) fail(ErrorCode::invalid_argument, "--text {}: no tokens in it", o.text);
  SequenceRunner runner(*opened.model,
                        opened.ctx->ctx(),
                        std::min<int64_t>(o.context, static_cast<int64_t>(ids.size())),
                        o.model.block_size);
  Score score;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(o.context))
    score_window(
        runner,
        std::span(ids).subspan(begin, std::min(static_cast<size_t>(o.context), ids.size() - begin)),
        score);
  if (!o.last_logits.empty()) write_floats(o.last_logits, score.last);
  const double perplexity =
      score.count == 0 ? 0 : std::exp(score.total / static_cast<double>(score.count));
  if (o.json)
    std::printf("%s\n",
                Json{{"perplexity", perplexity}, {"scored_tokens", score.count}, {"ids", ids}}
                    .dump()
                    .c_str());
  else
    std::printf("perplexity %.4f over %lld tokens, in windows of %lld\n",
                perplexity,
                static_cast<long long>(score.count),
                static_cast<long long>(o.context));
  return kExitDone;
}

}  // namespace

void add_eval_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<EvalOptions>();
  o->model.log_level = "warn";
  CLI::App* command = parent.add_subcommand("eval", "perplexity of a text");
  add_model_options(*command, o->model);
  command->add_option("--text", o->text, "a file of UTF-8 text")->required();
  command->add_option("--max-tokens", o->max_tokens, "only the first of them")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32));
  command
      ->add_option("--context",
                   o->context,
                   "independent windows of so many tokens; a window's first token is not scored")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20));
  command->add_option(
      "--last-logits", o->last_logits, "write the logits behind the last token here, float32");
  command->add_flag("--json", o->json, "one JSON object, with the ids");
  command->callback([o, &exit_code] { exit_code = eval(*o); });
}

}  // namespace quern

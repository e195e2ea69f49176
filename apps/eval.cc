// SPDX-License-Identifier: Apache-2.0
// quern eval: perplexity of a text.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

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
  bool against_float32 = false, json = false;
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

  double perplexity() const {
    return count == 0 ? 0 : std::exp(total / static_cast<double>(count));
  }
};

// How far one row of logits lies from another: Kullback-Leibler divergence in nats, and whether
// both have the same best token.
struct Distance {
  double divergence = 0, largest = 0;
  int64_t agreeing = 0, rows = 0;

  void add(std::span<const float> reference, std::span<const float> row) {
    const auto best = [](std::span<const float> r) {
      return std::ranges::max_element(r) - r.begin();
    };
    const double zero_r = surprise(reference, 0) + reference[0], zero_q = surprise(row, 0) + row[0];
    double kl = 0;
    for (size_t v = 0; v < row.size(); ++v) {
      const double log_p = reference[v] - zero_r, log_q = row[v] - zero_q;
      kl += std::exp(log_p) * (log_p - log_q);
    }
    divergence += kl;
    largest = std::max(largest, kl);
    agreeing += best(reference) == best(row);
    ++rows;
  }
};

using Window = std::span<const int32_t>;

// Logits behind tokens [begin, end) of a window whose earlier tokens are in the cache.
Tensor chunk_logits(SequenceRunner& runner, Window ids, int64_t begin, int64_t end) {
  std::vector<int32_t> positions(static_cast<size_t>(end - begin)), rows(positions.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(begin));
  std::iota(rows.begin(), rows.end(), 0);
  return runner.prefill({.ids = ids.subspan(static_cast<size_t>(begin), positions.size()),
                         .positions = positions,
                         .media = {}},
                        rows);
}

std::span<const float> row_of(const Tensor& logits, int64_t row) {
  const auto vocab = static_cast<size_t>(logits.dim(1));
  return logits.span<float>().subspan(static_cast<size_t>(row) * vocab, vocab);
}

// Scores every token of a window but its first.
void score_rows(const Tensor& logits, Window ids, int64_t begin, Score& score) {
  for (int64_t i = 0; i < logits.dim(0); ++i) {
    const auto next = static_cast<size_t>(begin + i + 1);
    const std::span<const float> row = row_of(logits, i);
    if (next < ids.size())
      score.total += surprise(row, ids[next]), ++score.count;
    else
      score.last.assign(row.begin(), row.end());
  }
}

// A model and what was seen of it.
struct Subject {
  SequenceRunner runner;
  Score score;

  Subject(const OpenedModel& opened, const ModelOptions& o, int64_t context)
      : runner(*opened.model,
               opened.ctx->ctx(),
               context,
               o.block_size,
               chosen_kv_dtype(o, opened.ctx->ctx().activation)) {}
};

void score_window(Subject& subject, Subject* reference, Window ids, Distance& distance) {
  subject.runner.clear();
  if (reference != nullptr) reference->runner.clear();
  const auto length = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < length; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, length);
    const Tensor logits = chunk_logits(subject.runner, ids, begin, end);
    score_rows(logits, ids, begin, subject.score);
    if (reference == nullptr) continue;
    const Tensor exact = chunk_logits(reference->runner, ids, begin, end);
    score_rows(exact, ids, begin, reference->score);
    for (int64_t i = 0; i < logits.dim(0); ++i) distance.add(row_of(exact, i), row_of(logits, i));
  }
}

void write_floats(const std::string& path, const std::vector<float>& values) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  out.close();
  if (!out) fail(ErrorCode::unavailable, "--last-logits {}: cannot be written", path);
}

void print(const EvalOptions& o, const Score& score, const Score* exact, const Distance& d) {
  const auto rows = static_cast<double>(std::max<int64_t>(1, d.rows));
  std::printf("perplexity %.4f over %lld tokens, in windows of %lld\n",
              score.perplexity(),
              static_cast<long long>(score.count),
              static_cast<long long>(o.context));
  if (exact != nullptr)
    std::printf(
        "with float32 inputs %.4f (%+.4f %%); divergence %.3g nats a token (largest %.3g); "
        "the same best token in %.3f %%\n",
        exact->perplexity(),
        100 * (score.perplexity() / exact->perplexity() - 1),
        d.divergence / rows,
        d.largest,
        100 * static_cast<double>(d.agreeing) / rows);
}

Json as_json(const Score& score, const Score* exact, const Distance& d) {
  Json out{{"perplexity", score.perplexity()}, {"scored_tokens", score.count}};
  if (exact == nullptr) return out;
  const auto rows = static_cast<double>(std::max<int64_t>(1, d.rows));
  out["float32_perplexity"] = exact->perplexity();
  out["kl_divergence"] = d.divergence / rows;
  out["largest_kl_divergence"] = d.largest;
  out["top1_agreement"] = static_cast<double>(d.agreeing) / rows;
  return out;
}

int eval(const EvalOptions& o) {
  set_log_level(parse_log_level(o.model.log_level));
  const OpenedModel opened = open_model(o.model);
  std::vector<int32_t> ids =
      opened.prompts->tokenizer().encode(read_file(o.text), {.add_special_tokens = false});
  ids.resize(std::min(ids.size(), static_cast<size_t>(o.max_tokens)));
  if (ids.empty()) fail(ErrorCode::invalid_argument, "--text {}: no tokens in it", o.text);
  const auto context = std::min<int64_t>(o.context, static_cast<int64_t>(ids.size()));
  Subject subject(opened, o.model, context);
  std::optional<OpenedModel> opened_exact;
  std::optional<Subject> exact;
  if (o.against_float32) {
    ModelOptions float32 = o.model;
    float32.dtype = float32.kv_cache_dtype = "float32";
    float32.cpu_activation = "auto";
    float32.tensor_parallel_size = float32.pipeline_parallel_size = 1;
    float32.tensor_parallel_split.clear();
    float32.int8_head = false;
    opened_exact.emplace(open_model(float32));
    exact.emplace(*opened_exact, float32, context);
  }
  Distance distance;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(o.context))
    score_window(
        subject,
        exact ? &*exact : nullptr,
        std::span(ids).subspan(begin, std::min(static_cast<size_t>(o.context), ids.size() - begin)),
        distance);
  if (!o.last_logits.empty()) write_floats(o.last_logits, subject.score.last);
  const Score* exact_score = exact ? &exact->score : nullptr;
  if (!o.json) {
    print(o, subject.score, exact_score, distance);
    return kExitDone;
  }
  Json out = as_json(subject.score, exact_score, distance);
  out["ids"] = ids;
  std::printf("%s\n", out.dump().c_str());
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
  command->add_flag(
      "--against-float32",
      o->against_float32,
      "also run the weights as stored with float32 inputs and KV cache, and say how far "
      "apart the two lie");
  command->add_flag("--json", o->json, "one JSON object, with the ids");
  command->callback([o, &exit_code] { exit_code = eval(*o); });
}

}  // namespace quern

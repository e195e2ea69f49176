// SPDX-License-Identifier: Apache-2.0
// quern eval: perplexity of a text, and how far two models lie apart on it.
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
  std::string text, last_logits, reference;
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

// The mean of some numbers and how well it is known.
struct Mean {
  double sum = 0, squares = 0;
  int64_t count = 0;

  void add(double x) { sum += x, squares += x * x, ++count; }
  double mean() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
  // Half of the interval that holds the true mean in 95 of 100 texts like this one, if tokens were
  // independent; they are not quite, so it is on the small side.
  double margin() const {
    if (count < 2) return 0;
    const auto n = static_cast<double>(count);
    return 1.96 * std::sqrt(std::max(0.0, squares / n - mean() * mean()) / (n - 1));
  }
};

// How far one row of logits lies from another: Kullback-Leibler divergence in nats, whether both
// have the same best token, and how much more the text surprises the one than the other.
struct Distance {
  Mean divergence, excess;
  double largest = 0;
  int64_t agreeing = 0;

  // The share of rows with the same best token.
  double agreement() const {
    return static_cast<double>(agreeing) /
           static_cast<double>(std::max<int64_t>(1, divergence.count));
  }

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
    divergence.add(kl);
    largest = std::max(largest, kl);
    agreeing += best(reference) == best(row);
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

// Scores every token of a window but its first. Returns how much each surprised.
std::vector<double> score_rows(const Tensor& logits, Window ids, int64_t begin, Score& score) {
  std::vector<double> surprises;
  for (int64_t i = 0; i < logits.dim(0); ++i) {
    const auto next = static_cast<size_t>(begin + i + 1);
    const std::span<const float> row = row_of(logits, i);
    if (next >= ids.size()) {
      score.last.assign(row.begin(), row.end());
      continue;
    }
    surprises.push_back(surprise(row, ids[next]));
    score.total += surprises.back();
    ++score.count;
  }
  return surprises;
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
    const std::vector<double> surprises = score_rows(logits, ids, begin, subject.score);
    if (reference == nullptr) continue;
    const Tensor exact = chunk_logits(reference->runner, ids, begin, end);
    const std::vector<double> expected = score_rows(exact, ids, begin, reference->score);
    for (size_t i = 0; i < surprises.size(); ++i) distance.excess.add(surprises[i] - expected[i]);
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
  std::printf("perplexity %.4f over %lld tokens, in windows of %lld\n",
              score.perplexity(),
              static_cast<long long>(score.count),
              static_cast<long long>(o.context));
  if (exact == nullptr) return;
  const std::string other = o.reference.empty() ? "with float32 inputs" : o.reference;
  std::printf(
      "%s %.4f (%+.4f %% +- %.2g); divergence %.3g +- %.2g nats a token (largest %.3g); "
      "the same best token in %.3f %%\n",
      other.c_str(),
      exact->perplexity(),
      100 * (score.perplexity() / exact->perplexity() - 1),
      100 * d.excess.margin(),
      d.divergence.mean(),
      d.divergence.margin(),
      d.largest,
      100 * d.agreement());
}

Json as_json(const EvalOptions& o, const Score& score, const Score* exact, const Distance& d) {
  Json out{{"perplexity", score.perplexity()}, {"scored_tokens", score.count}};
  if (exact == nullptr) return out;
  out[o.reference.empty() ? "float32_perplexity" : "reference_perplexity"] = exact->perplexity();
  out["log_perplexity_difference"] = d.excess.mean();
  out["log_perplexity_difference_margin"] = d.excess.margin();
  out["kl_divergence"] = d.divergence.mean();
  out["kl_divergence_margin"] = d.divergence.margin();
  out["largest_kl_divergence"] = d.largest;
  out["top1_agreement"] = d.agreement();
  return out;
}

ModelOptions float32_options(ModelOptions o) {
  o.dtype = o.kv_cache_dtype = "float32";
  o.cpu_activation = "auto";
  o.tensor_parallel_size = o.pipeline_parallel_size = 1;
  o.tensor_parallel_split.clear();
  o.int8_head = false;
  return o;
}

ModelOptions reference_options(const EvalOptions& o) {
  ModelOptions out = o.model;
  out.model = o.reference;
  return out;
}

std::vector<int32_t> ids_of(const OpenedModel& opened, const EvalOptions& o) {
  std::vector<int32_t> ids =
      opened.prompts->tokenizer().encode(read_file(o.text), {.add_special_tokens = false});
  ids.resize(std::min(ids.size(), static_cast<size_t>(o.max_tokens)));
  return ids;
}

// Rows of logits can be compared only where they stand for the same tokens.
void expect_same_ids(const OpenedModel& reference,
                     const EvalOptions& o,
                     const std::vector<int32_t>& ids) {
  if (ids_of(reference, o) != ids)
    fail(ErrorCode::invalid_argument,
         "--reference {}: its tokenizer makes other tokens of the text than that of {}: they "
         "cannot be compared token by token",
         o.reference,
         o.model.model);
}

void expect_same_vocabulary(const Model& model, const Model& reference) {
  if (model.info().vocab_size != reference.info().vocab_size)
    fail(ErrorCode::invalid_argument,
         "--reference: has {} tokens, the model {}: they cannot be compared",
         reference.info().vocab_size,
         model.info().vocab_size);
}

int eval(const EvalOptions& o) {
  set_log_level(parse_log_level(o.model.log_level));
  const OpenedModel opened = open_model(o.model);
  const std::vector<int32_t> ids = ids_of(opened, o);
  if (ids.empty()) fail(ErrorCode::invalid_argument, "--text {}: no tokens in it", o.text);
  const auto context = std::min<int64_t>(o.context, static_cast<int64_t>(ids.size()));
  Subject subject(opened, o.model, context);
  std::optional<OpenedModel> opened_exact;
  std::optional<Subject> exact;
  const ModelOptions other = o.against_float32 ? float32_options(o.model) : reference_options(o);
  if (o.against_float32 || !o.reference.empty()) {
    opened_exact.emplace(open_model(other));
    if (!o.reference.empty()) expect_same_ids(*opened_exact, o, ids);
    expect_same_vocabulary(*opened.model, *opened_exact->model);
    exact.emplace(*opened_exact, other, context);
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
  Json out = as_json(o, subject.score, exact_score, distance);
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
  auto* reference = command->add_option(
      "--reference",
      o->reference,
      "another checkpoint with the same tokenizer: say how far apart the two lie on the text");
  auto* against = command->add_flag(
      "--against-float32",
      o->against_float32,
      "also run the weights as stored with float32 inputs and KV cache, and say how far "
      "apart the two lie");
  against->excludes(reference);
  command->add_flag("--json", o->json, "one JSON object, with the ids");
  command->callback([o, &exit_code] { exit_code = eval(*o); });
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "eval/text_eval.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "calibration_set.h"
#include "loaded_model.h"
#include "nn/sequence_runner.h"

namespace quern::eval {
namespace {

constexpr int64_t kChunk = 128;  // tokens whose logits are held at one time

// Minus the log-probability of `token` under softmax(row).
double surprise(std::span<const float> row, int32_t token) {
  const float top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x) - top);
  return std::log(sum) + top - row[static_cast<size_t>(token)];
}

void add(Distance& distance, std::span<const float> reference, std::span<const float> row) {
  const auto best = [](std::span<const float> r) {
    return std::ranges::max_element(r) - r.begin();
  };
  const double zero_r = surprise(reference, 0) + reference[0], zero_q = surprise(row, 0) + row[0];
  double kl = 0;
  for (size_t v = 0; v < row.size(); ++v) {
    const double log_p = reference[v] - zero_r, log_q = row[v] - zero_q;
    kl += std::exp(log_p) * (log_p - log_q);
  }
  distance.divergence.add(kl);
  distance.largest = std::max(distance.largest, kl);
  distance.agreeing += best(reference) == best(row);
}

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

// A model and what was seen of it.
struct Subject {
  const OpenedModel& opened;
  SequenceRunner runner;
  Score score;

  Subject(const OpenedModel& opened, const ModelOptions& o, int64_t context)
      : opened(opened),
        runner(*opened.model,
               opened.ctx->ctx(),
               context,
               o.block_size,
               chosen_kv_dtype(o, opened.ctx->ctx().activation)) {}

  // Scores every token of a window but its first. Returns how much each surprised.
  std::vector<double> score_rows(const Tensor& logits, Window ids, int64_t begin) {
    std::vector<double> surprises;
    for (int64_t i = 0; i < logits.dim(0); ++i) {
      const auto next = static_cast<size_t>(begin + i + 1);
      const std::span<const float> row = row_of(logits, i);
      if (next >= ids.size()) {
        score.last.assign(row.begin(), row.end());
        continue;
      }
      surprises.push_back(surprise(row, ids[next]));
      score.surprise.add(surprises.back());
      score.bytes +=
          static_cast<int64_t>(opened.prompts->tokenizer().token_bytes(ids[next]).size());
    }
    return surprises;
  }
};

void score_window(Subject& subject, Subject* reference, Window ids, Distance& distance) {
  subject.runner.clear();
  if (reference != nullptr) reference->runner.clear();
  const auto length = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < length; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, length);
    const Tensor logits = chunk_logits(subject.runner, ids, begin, end);
    const std::vector<double> surprises = subject.score_rows(logits, ids, begin);
    if (reference == nullptr) continue;
    const Tensor exact = chunk_logits(reference->runner, ids, begin, end);
    const std::vector<double> expected = reference->score_rows(exact, ids, begin);
    for (size_t i = 0; i < surprises.size(); ++i) distance.excess.add(surprises[i] - expected[i]);
    for (int64_t i = 0; i < logits.dim(0); ++i) add(distance, row_of(exact, i), row_of(logits, i));
  }
}

std::vector<int32_t> ids_of(const OpenedModel& opened, const TextQuestion& q) {
  std::vector<int32_t> ids =
      opened.prompts->tokenizer().encode(text_named(q.text), {.add_special_tokens = false});
  ids.resize(std::min(ids.size(), static_cast<size_t>(q.max_tokens)));
  return ids;
}

// Rows of logits can be compared only where they stand for the same tokens.
void expect_comparable(const OpenedModel& opened,
                       const OpenedModel& other,
                       const TextQuestion& q,
                       const std::vector<int32_t>& ids) {
  if (q.is_other_checkpoint && ids_of(other, q) != ids)
    fail(ErrorCode::invalid_argument,
         "--reference {}: its tokenizer makes other tokens of the text than that of {}: they "
         "cannot be compared token by token",
         q.other_name,
         q.model.model);
  if (opened.model->info().vocab_size != other.model->info().vocab_size)
    fail(ErrorCode::invalid_argument,
         "--reference: has {} tokens, the model {}: they cannot be compared",
         other.model->info().vocab_size,
         opened.model->info().vocab_size);
}

Json list_of(const Interval& interval) {
  return Json::array({interval.low, interval.high});
}

double half_width(const Interval& interval) {
  return (interval.high - interval.low) / 2;
}

}  // namespace

double Score::perplexity() const {
  return surprise.count() == 0 ? 0 : std::exp(surprise.mean());
}

Interval Score::perplexity_interval(uint64_t seed) const {
  if (surprise.count() == 0) return {};
  const Interval nats = surprise.interval(seed);
  return {std::exp(nats.low), std::exp(nats.high)};
}

double Score::bits_per_byte() const {
  return bytes == 0 ? 0 : surprise.sum() / std::log(2.0) / static_cast<double>(bytes);
}

double Distance::agreement() const {
  return static_cast<double>(agreeing) /
         static_cast<double>(std::max<int64_t>(1, divergence.count()));
}

std::string text_named(const std::string& name) {
  return name == kBuiltInText ? std::string(built_in_prose()) : read_file(name);
}

TextResult evaluate_text(const TextQuestion& q) {
  const OpenedModel opened = open_model(q.model);
  TextResult out{.ids = ids_of(opened, q), .score = {}, .other = {}, .distance = {}};
  if (out.ids.empty()) fail(ErrorCode::invalid_argument, "--text {}: no tokens in it", q.text);
  const auto context = std::min<int64_t>(q.context, static_cast<int64_t>(out.ids.size()));
  Subject subject(opened, q.model, context);
  std::optional<OpenedModel> opened_other;
  std::optional<Subject> other;
  if (q.other) {
    opened_other.emplace(open_model(*q.other));
    expect_comparable(opened, *opened_other, q, out.ids);
    other.emplace(*opened_other, *q.other, context);
  }
  for (size_t begin = 0; begin < out.ids.size(); begin += static_cast<size_t>(q.context))
    score_window(subject,
                 other ? &*other : nullptr,
                 Window(out.ids).subspan(
                     begin, std::min(static_cast<size_t>(q.context), out.ids.size() - begin)),
                 out.distance);
  out.score = std::move(subject.score);
  if (other) out.other = std::move(other->score);
  return out;
}

Json as_json(const TextQuestion& q, const TextResult& r) {
  Json out{{"perplexity", r.score.perplexity()},
           {"perplexity_interval", list_of(r.score.perplexity_interval(q.seed))},
           {"bits_per_byte", r.score.bits_per_byte()},
           {"scored_tokens", r.score.surprise.count()}};
  if (!r.other) return out;
  const std::string other = q.is_other_checkpoint ? "reference" : "float32";
  const Distance& d = r.distance;
  const Interval excess = d.excess.interval(q.seed), divergence = d.divergence.interval(q.seed);
  out[other + "_perplexity"] = r.other->perplexity();
  out[other + "_perplexity_interval"] = list_of(r.other->perplexity_interval(q.seed));
  out[other + "_bits_per_byte"] = r.other->bits_per_byte();
  out["log_perplexity_difference"] = d.excess.mean();
  out["log_perplexity_difference_margin"] = half_width(excess);
  out["log_perplexity_difference_interval"] = list_of(excess);
  out["kl_divergence"] = d.divergence.mean();
  out["kl_divergence_margin"] = half_width(divergence);
  out["kl_divergence_interval"] = list_of(divergence);
  out["largest_kl_divergence"] = d.largest;
  out["top1_agreement"] = d.agreement();
  out["top1_agreement_interval"] = list_of(wilson(d.agreeing, d.divergence.count()));
  return out;
}

std::string as_text(const TextQuestion& q, const TextResult& r) {
  const Interval own = r.score.perplexity_interval(q.seed);
  std::string out = format("perplexity {:.4f} [{:.4f}, {:.4f}] over {} tokens, in windows of {}\n",
                           r.score.perplexity(),
                           own.low,
                           own.high,
                           r.score.surprise.count(),
                           q.context);
  if (!r.other) return out;
  const Distance& d = r.distance;
  const Interval agreement = wilson(d.agreeing, d.divergence.count());
  return out +
         format(
             "{} {:.4f} ({:+.4f} % +- {:.2g}); divergence {:.3g} +- {:.2g} nats a token (largest "
             "{:.3g}); the same best token in {:.3f} % [{:.3f}, {:.3f}]\n",
             q.other_name,
             r.other->perplexity(),
             100 * (r.score.perplexity() / r.other->perplexity() - 1),
             100 * half_width(d.excess.interval(q.seed)),
             d.divergence.mean(),
             half_width(d.divergence.interval(q.seed)),
             d.largest,
             100 * d.agreement(),
             100 * agreement.low,
             100 * agreement.high);
}

}  // namespace quern::eval

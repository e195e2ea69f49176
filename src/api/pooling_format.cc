// SPDX-License-Identifier: Apache-2.0
#include "api/pooling_format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/json.h"

namespace quern {
namespace {

static_assert(std::endian::native == std::endian::little, "base64 carries floats as they lie");

std::string quoted(const std::string& text) {
  return json_text(text);
}

std::string list_of(std::span<const float> values) {
  std::string out = "[";
  for (const float value : values)
    fmt::format_to(std::back_inserter(out), "{}{}", out.size() > 1 ? "," : "", value);
  return out += "]";
}

std::string head_of(const AnswerHeader& header) {
  return format(R"("id":{},"object":"list","created":{},"model":{})",
                quoted(header.id),
                header.created,
                quoted(header.model));
}

// Nothing is generated.
std::string usage_of(const Usage& usage) {
  return format(R"("usage":{{"prompt_tokens":{},"total_tokens":{},"completion_tokens":0,)"
                R"("prompt_tokens_details":{{"cached_tokens":{}}}}})",
                usage.prompt_tokens,
                usage.prompt_tokens,
                usage.cached_tokens);
}

template <typename Item>
std::string list_body(const AnswerHeader& header, size_t count, const Usage& usage, Item item) {
  std::string out = "{" + head_of(header) + R"(,"data":[)";
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) out += ",";
    out += item(i);
  }
  return out += "]," + usage_of(usage) + "}";
}

double length_of(std::span<const float> v) {
  double sum = 0;
  for (const float x : v) sum += double{x} * double{x};
  return std::sqrt(sum);
}

}  // namespace

Vector embedding_of(Vector pooled, int64_t size, bool is_normalized) {
  if (size > 0 && size < static_cast<int64_t>(pooled.size()))
    pooled.resize(static_cast<size_t>(size));
  const double length = is_normalized ? length_of(pooled) : 0;
  if (length > 0)
    for (float& x : pooled) x = static_cast<float>(double{x} / length);
  return pooled;
}

Vector classes_of(Vector scores, ScoreActivation activation) {
  if (activation == ScoreActivation::none || scores.empty()) return scores;
  if (activation == ScoreActivation::sigmoid) {
    for (float& x : scores) x = static_cast<float>(1 / (1 + std::exp(-double{x})));
    return scores;
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const float x : scores) sum += std::exp(double{x} - most);
  for (float& x : scores) x = static_cast<float>(std::exp(double{x} - most) / sum);
  return scores;
}

double cosine(std::span<const float> a, std::span<const float> b) {
  QUERN_CHECK(a.size() == b.size(), "{} and {} values", a.size(), b.size());
  double dot = 0;
  for (size_t i = 0; i < a.size(); ++i) dot += double{a[i]} * double{b[i]};
  const double lengths = length_of(a) * length_of(b);
  return lengths > 0 ? std::clamp(dot / lengths, -1.0, 1.0) : 0;
}

std::vector<RankedDocument> ranked(std::span<const double> scores, size_t top_n) {
  std::vector<RankedDocument> out;
  for (size_t i = 0; i < scores.size(); ++i) out.push_back({i, scores[i]});
  std::ranges::stable_sort(out, std::ranges::greater(), &RankedDocument::score);
  if (top_n > 0 && top_n < out.size()) out.resize(top_n);
  return out;
}

std::string base64_of(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t held = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j)
      word = word << 8 | (j < held ? std::to_integer<uint32_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) out += j <= held ? kDigits[word >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string embeddings_body(const AnswerHeader& header,
                            std::span<const Vector> vectors,
                            bool is_base64,
                            const Usage& usage) {
  return list_body(header, vectors.size(), usage, [&](size_t i) {
    const std::span<const float> values(vectors[i]);
    const std::string shown =
        is_base64 ? "\"" + base64_of(std::as_bytes(values)) + "\"" : list_of(values);
    return format(R"({{"index":{},"object":"embedding","embedding":{}}})", i, shown);
  });
}

std::string classes_body(const AnswerHeader& header,
                         std::span<const Vector> classes,
                         const std::vector<std::string>& labels,
                         const Usage& usage) {
  return list_body(header, classes.size(), usage, [&](size_t i) {
    const Vector& probs = classes[i];
    const auto best = std::max_element(probs.begin(), probs.end()) - probs.begin();
    return format(R"({{"index":{},"label":{},"probs":{},"num_classes":{}}})",
                  i,
                  quoted(labels.at(static_cast<size_t>(best))),
                  list_of(probs),
                  probs.size());
  });
}

std::string scores_body(const AnswerHeader& header,
                        std::span<const double> scores,
                        const Usage& usage) {
  return list_body(header, scores.size(), usage, [&](size_t i) {
    return format(R"({{"index":{},"object":"score","score":{}}})", i, scores[i]);
  });
}

std::string ranking_body(const AnswerHeader& header,
                         std::span<const RankedDocument> ranking,
                         const std::vector<std::string>& documents,
                         const Usage& usage) {
  std::string results;
  for (const RankedDocument& each : ranking) {
    const std::string document = documents.empty() ? ""
                                                   : format(R"("document":{{"text":{}}},)",
                                                            quoted(documents.at(each.index)));
    results += format(R"({}{{"index":{},{}"relevance_score":{}}})",
                      results.empty() ? "" : ",",
                      each.index,
                      document,
                      each.score);
  }
  return format(
      R"({{"id":{},"model":{},"results":[{}],"usage":{{"prompt_tokens":{},"total_tokens":{}}}}})",
      quoted(header.id),
      quoted(header.model),
      results,
      usage.prompt_tokens,
      usage.prompt_tokens);
}

}  // namespace quern

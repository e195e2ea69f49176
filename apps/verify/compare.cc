// SPDX-License-Identifier: Apache-2.0
#include "verify/compare.h"

#include <cmath>
#include <cstdint>

namespace quern {
namespace {

bool is_other_size(Finding& finding, size_t got, size_t expected) {
  finding.count = static_cast<int64_t>(expected);
  if (got == expected) return false;
  finding.verdict = Verdict::differs;
  finding.note = format("{} values, expected {}", got, expected);
  return true;
}

}  // namespace

Finding compare_values(std::string field,
                       std::span<const float> got,
                       std::span<const float> expected,
                       const Bound& bound) {
  Finding out{
      .field = std::move(field), .verdict = Verdict::holds, .allowed = bound.atol, .note = {}};
  if (is_other_size(out, got.size(), expected.size())) return out;
  double worst = -1, sum = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - expected[i]);
    const double allowed = bound.atol + bound.rtol * std::abs(static_cast<double>(expected[i]));
    sum += difference;
    const double share = std::isnan(difference) ? INFINITY : difference / allowed;
    if (share > worst) worst = share, out.error = difference, out.allowed = allowed;
  }
  if (worst > 1) out.verdict = Verdict::differs;
  const double mean = got.empty() ? 0 : sum / static_cast<double>(got.size());
  if (bound.mean_limit > 0) {
    out.note = format("mean {:.3g}, allowed {:.3g}", mean, bound.mean_limit);
    if (!(mean <= bound.mean_limit)) out.verdict = Verdict::differs;
  }
  return out;
}

Finding compare_exactly(std::string field,
                        std::span<const float> got,
                        std::span<const float> expected) {
  Finding out{.field = std::move(field), .verdict = Verdict::holds, .note = {}};
  if (is_other_size(out, got.size(), expected.size())) return out;
  int64_t different = 0;
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    ++different;
    largest = std::max(largest, std::abs(static_cast<double>(got[i]) - expected[i]));
  }
  if (different == 0) return out;
  out.verdict = Verdict::differs;
  out.note = format("{} of {} differ, by up to {:.3g}", different, got.size(), largest);
  return out;
}

bool fits_pattern(std::string_view text, std::string_view pattern) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return text == pattern;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (size_t at = star; at <= text.size(); ++at)
    if (fits_pattern(text.substr(at), rest)) return true;
  return false;
}

}  // namespace quern

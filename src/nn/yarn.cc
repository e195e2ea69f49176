// SPDX-License-Identifier: Apache-2.0
// Formulas as in transformers 5.23, modeling_rope_utils (yarn) and modeling_deepseek_v3.
#include "nn/yarn.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace quern {
namespace {

double temperature(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// Zero and null stand for the default, as in the reference.
double positive_or(const Config& scaling, std::string_view key, double fallback) {
  const double value = scaling.number_or(key, fallback);
  if (!(value >= 0) || !std::isfinite(value))
    fail(ErrorCode::data_loss,
         "{}: {}: expected a number above 0, got {}",
         scaling.path(),
         key,
         value);
  return value > 0 ? value : fallback;
}

}  // namespace

Yarn Yarn::from(const Config& scaling, int64_t max_positions) {
  Yarn y;
  y.original_positions = scaling.integer("original_max_position_embeddings", 1, int64_t{1} << 31);
  y.factor = scaling.number_or(
      "factor", static_cast<double>(max_positions) / static_cast<double>(y.original_positions));
  if (!(y.factor >= 1) || !std::isfinite(y.factor))
    fail(ErrorCode::data_loss, "{}: factor: expected at least 1, got {}", scaling.path(), y.factor);
  y.beta_fast = positive_or(scaling, "beta_fast", y.beta_fast);
  y.beta_slow = positive_or(scaling, "beta_slow", y.beta_slow);
  y.mscale = positive_or(scaling, "mscale", 0);
  y.mscale_all_dim = positive_or(scaling, "mscale_all_dim", 0);
  if (scaling.has("attention_factor"))
    y.attention_factor = positive_or(scaling, "attention_factor", 1);
  y.rounds_ramp = scaling.boolean_or("truncate", true);
  return y;
}

std::vector<float> Yarn::frequencies(int64_t rotary_size, double theta) const {
  const auto size = static_cast<double>(rotary_size);
  // The dimension whose pair turns `turns` times within the original positions.
  const auto dimension = [&](double turns) {
    const double wavelength =
        static_cast<double>(original_positions) / (turns * 2 * std::numbers::pi);
    return size * std::log(wavelength) / (2 * std::log(theta));
  };
  double low = dimension(beta_fast), high = dimension(beta_slow);
  if (rounds_ramp) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, size - 1);
  if (low == high) high += 0.001;
  std::vector<float> out(static_cast<size_t>(rotary_size / 2));
  for (size_t j = 0; j < out.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(rotary_size);
    const float period = std::pow(static_cast<float>(theta), exponent);
    const float kept = 1.0f / period, stretched = 1.0f / (static_cast<float>(factor) * period);
    const auto ramp =
        static_cast<float>(std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0));
    out[j] = stretched * ramp + kept * (1 - ramp);
  }
  return out;
}

float Yarn::table_scale() const {
  if (attention_factor) return static_cast<float>(*attention_factor);
  if (mscale > 0 && mscale_all_dim > 0)
    return static_cast<float>(temperature(factor, mscale) / temperature(factor, mscale_all_dim));
  return static_cast<float>(temperature(factor, 1));
}

double Yarn::softmax_scale() const {
  const double m = mscale_all_dim > 0 ? temperature(factor, mscale_all_dim) : 1.0;
  return m * m;
}

}  // namespace quern

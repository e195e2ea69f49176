// SPDX-License-Identifier: Apache-2.0
#include "nn/rope.h"

#include <cmath>
#include <numbers>
#include <numeric>

#include "base/error.h"
#include "nn/yarn.h"

namespace quern {
namespace {

std::vector<float> base_frequencies(int64_t size, double theta) {
  std::vector<float> out(static_cast<size_t>(size / 2));
  for (size_t j = 0; j < out.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(size);
    out[j] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  return out;
}

// Llama 3.1: wavelengths beyond the original context are stretched by `factor`, short ones kept,
// those between blended. Source of the formula: transformers 5.23, modeling_rope_utils, llama3.
void scale_llama3(std::vector<float>& frequencies, const Config& scaling) {
  const double factor = scaling.number("factor"), low = scaling.number("low_freq_factor");
  const double high = scaling.number("high_freq_factor");
  const auto original = static_cast<double>(scaling.integer("original_max_position_embeddings"));
  if (!(factor >= 1) || !(low > 0) || !(high > low))
    fail(ErrorCode::data_loss,
         "{}: expected factor >= 1 and high_freq_factor > low_freq_factor > 0, got {}, {}, {}",
         scaling.path(),
         factor,
         high,
         low);
  for (float& f : frequencies) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength > original / low) {
      f = static_cast<float>(f / factor);
    } else if (wavelength >= original / high) {
      const double blend = (original / wavelength - low) / (high - low);
      f = static_cast<float>((1 - blend) * f / factor + blend * f);
    }
  }
}

void scale(std::vector<float>& frequencies, const Config& scaling) {
  const std::string type = rope_type(scaling);
  if (type == "default" || type == "mrope") return;
  if (type == "linear") {
    const double factor = scaling.number("factor");
    if (!(factor >= 1))
      fail(ErrorCode::data_loss, "{}: factor: expected at least 1, got {}", scaling.path(), factor);
    for (float& f : frequencies) f = static_cast<float>(f / factor);
  } else if (type == "llama3") {
    scale_llama3(frequencies, scaling);
  } else {
    fail(ErrorCode::unsupported,
         "{}: type {}: this build carries default, mrope, linear, llama3 and yarn",
         scaling.path(),
         type);
  }
}

// The axis of each pair. `where` names the config.
std::vector<uint8_t> axes_of_pairs(const std::vector<int64_t>& lengths,
                                   size_t pairs,
                                   std::string_view where) {
  std::vector<uint8_t> out;
  for (size_t axis = 0; axis < lengths.size() && axis < 3; ++axis)
    for (int64_t i = 0; i < lengths[axis] && out.size() <= pairs; ++i)
      out.push_back(static_cast<uint8_t>(axis));
  if (lengths.size() != 3 || out.size() != pairs)
    fail(ErrorCode::data_loss,
         "{}: mrope_section: expected 3 lengths that sum to {}, got {} that sum to {}",
         where,
         pairs,
         lengths.size(),
         std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  return out;
}

}  // namespace

std::optional<Config> rope_settings(const Config& text) {
  const std::optional<Config> newer = text.find("rope_parameters");
  return newer ? newer : text.find("rope_scaling");
}

std::string rope_type(const Config& settings) {
  return settings.string_or("rope_type", settings.string_or("type", "default"));
}

double rope_theta(const Config& text, const std::optional<Config>& settings, double silent) {
  const double outer = text.number_or("rope_theta", silent);
  const double theta = settings ? settings->number_or("rope_theta", outer) : outer;
  if (!(theta > 1))
    fail(ErrorCode::data_loss, "{}: rope_theta: expected more than 1, got {}", text.path(), theta);
  return theta;
}

int64_t rotary_size(const Config& text, int64_t head_size, double silent) {
  const auto rope = text.find("rope_parameters");
  const double outer = text.number_or("partial_rotary_factor", silent);
  const double share = rope ? rope->number_or("partial_rotary_factor", outer) : outer;
  const auto size =
      share > 0 && share <= 1 ? static_cast<int64_t>(static_cast<double>(head_size) * share) : 0;
  if (size < 2 || size % 2 != 0)
    fail(ErrorCode::data_loss,
         "{}: partial_rotary_factor {}: of heads of {}, expected an even part, at least 2",
         text.path(),
         share,
         head_size);
  return size;
}

Rope Rope::plain(int64_t rotary_size, double theta) {
  Rope rope;
  rope.frequencies_ = base_frequencies(rotary_size, theta);
  rope.axis_.assign(rope.frequencies_.size(), 0);
  return rope;
}

Rope Rope::from(const Builder& b,
                const Config& text,
                int64_t rotary_size,
                const RopeDefaults& defaults) {
  const std::optional<Config> scaling = rope_settings(text);
  const double theta = rope_theta(text, scaling, defaults.theta);
  Rope rope = plain(rotary_size, theta);
  if (scaling && rope_type(*scaling) == "yarn") {
    const Yarn yarn = Yarn::from(*scaling, text.integer_or("max_position_embeddings", 2048, 1));
    rope.frequencies_ = yarn.frequencies(rotary_size, theta);
    rope.table_scale_ = yarn.table_scale();
  } else if (scaling) {
    scale(rope.frequencies_, *scaling);
  }
  const bool has_sections = scaling && scaling->has("mrope_section");
  const std::vector<int64_t> lengths =
      has_sections ? scaling->integers("mrope_section") : defaults.sections;
  if (!lengths.empty()) {
    rope.axis_ = axes_of_pairs(lengths, rope.frequencies_.size(), text.path());
    rope.axes_ = 3;
  }
  if (b.has("rope_freqs.weight")) rope.divide(b.vector("rope_freqs.weight", rope.angles()));
  return rope;
}

void Rope::divide(const Tensor& factors) {
  if (factors.raw() == nullptr) return;
  for (size_t j = 0; j < frequencies_.size(); ++j) frequencies_[j] /= factors.span<float>()[j];
}

Rope Rope::rows_and_columns(int64_t rotary_size, double theta) {
  const Rope one = plain(rotary_size / 2, theta);
  Rope rope;
  rope.axes_ = 2;
  for (uint8_t axis = 0; axis < 2; ++axis) {
    rope.frequencies_.insert(
        rope.frequencies_.end(), one.frequencies_.begin(), one.frequencies_.end());
    rope.axis_.insert(rope.axis_.end(), one.frequencies_.size(), axis);
  }
  return rope;
}

Rope Rope::sectioned(int64_t rotary_size,
                     double theta,
                     std::span<const int64_t> sections,
                     Sections layout) {
  QUERN_CHECK(std::accumulate(sections.begin(), sections.end(), int64_t{0}) == rotary_size / 2);
  const int64_t factor = layout == Sections::elements ? 2 : 1;
  Rope rope;
  rope.axes_ = static_cast<int>(sections.size());
  const std::vector<float> one = plain(rotary_size, theta).frequencies_;
  for (int64_t i = 0; i < factor; ++i)
    rope.frequencies_.insert(rope.frequencies_.end(), one.begin(), one.end());
  for (size_t axis = 0; axis < sections.size(); ++axis)
    rope.axis_.insert(
        rope.axis_.end(), static_cast<size_t>(factor * sections[axis]), static_cast<uint8_t>(axis));
  return rope;
}

RopeTables Rope::tables(Ctx& ctx, std::span<const int32_t> positions, int axes) const {
  QUERN_CHECK(axes == 1 || axes == axes_, "{} axes of positions, the model has {}", axes, axes_);
  const int64_t count = static_cast<int64_t>(positions.size()) / axes;
  RopeTables out{ctx.empty({count, angles()}), ctx.empty({count, angles()})};
  if (ctx.device.is_meta()) return out;
  float* cos = out.cos.data<float>();
  float* sin = out.sin.data<float>();
  ctx.pool->parallel_for(count, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t j = 0; j < angles(); ++j) {
        const int64_t row = axes == 1 ? 0 : axis_[static_cast<size_t>(j)];
        const float angle = static_cast<float>(positions[static_cast<size_t>(row * count + t)]) *
                            frequencies_[static_cast<size_t>(j)];
        cos[t * angles() + j] = std::cos(angle) * table_scale_;
        sin[t * angles() + j] = std::sin(angle) * table_scale_;
      }
  });
  return out;
}

}  // namespace quern

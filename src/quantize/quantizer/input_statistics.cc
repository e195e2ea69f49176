// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/input_statistics.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

constexpr std::string_view kRouter = ".mlp.gate";
constexpr int64_t kMostJudged = 2048;

// x [T, K] -> x' [K, T].
Tensor turned(const Tensor& x) {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  Tensor out = Tensor::empty({cols, rows}, DType::f32);
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t k = 0; k < cols; ++k)
      out.data<float>()[k * rows + t] = x.data<float>()[t * cols + k];
  return out;
}

void divide_statistics(InputStatistics& s, const std::vector<float>& scales) {
  for (size_t k = 0; k < scales.size(); ++k) {
    s.magnitudes[k] /= scales[k];
    s.maxima[k] /= scales[k];
  }
  if (!s.gram.defined()) return;
  const int64_t size = s.gram.dim(0);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < size; ++j)
      s.gram.data<float>()[i * size + j] /=
          scales[static_cast<size_t>(i)] * scales[static_cast<size_t>(j)];
}

}  // namespace

std::unique_ptr<ops::PackedWeight> packed_floats(const Ctx& ctx, const Tensor& weights) {
  std::vector<QuantMatrix> parts(1);
  parts[0].codes = weights;
  return ops::pack_weight(ctx, std::move(parts));
}

std::vector<int64_t> judged_outputs(const Tensor& weights) {
  const int64_t count = weights.dim(0), cols = weights.dim(1);
  std::vector<int64_t> rows;
  for (int64_t n = 0; n < count; ++n) {
    const std::span<const float> row(weights.data<float>() + n * cols, static_cast<size_t>(cols));
    if (count <= kMostJudged || std::ranges::any_of(row, [](float w) { return w != 0; }))
      rows.push_back(n);
  }
  if (rows.empty()) rows.push_back(0);  // all zero
  const auto found = static_cast<int64_t>(rows.size());
  if (found <= kMostJudged) return rows;
  for (int64_t i = 0; i < kMostJudged; ++i)
    rows[static_cast<size_t>(i)] = rows[static_cast<size_t>(i * found / kMostJudged)];
  rows.resize(kMostJudged);
  return rows;
}

Tensor rows_at(const Tensor& matrix, std::span<const int64_t> rows) {
  if (static_cast<int64_t>(rows.size()) == matrix.dim(0)) return matrix;
  const int64_t cols = matrix.dim(1);
  Tensor out = Tensor::empty({static_cast<int64_t>(rows.size()), cols}, DType::f32);
  float* to = out.data<float>();
  for (const int64_t row : rows) to = std::copy_n(matrix.data<float>() + row * cols, cols, to);
  return out;
}

double gram_loss(Ctx& ctx, const Tensor& errors, const ops::PackedWeight& gram) {
  const Tensor product = ops::matmul(ctx, errors, gram);
  const auto e = errors.span<float>(), p = product.span<float>();
  double sum = 0;
  for (size_t i = 0; i < e.size(); ++i) sum += static_cast<double>(e[i]) * p[i];
  return sum;
}

std::optional<int64_t> routed_expert_of(std::string_view name) {
  constexpr std::string_view kExperts = ".mlp.experts.";
  const size_t at = name.find(kExperts);
  if (at == std::string_view::npos) return std::nullopt;
  int64_t expert = 0;
  const char* begin = name.data() + at + kExperts.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), expert);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  return expert;
}

void InputStatistics::add(Ctx& ctx, const Tensor& x, bool has_gram) {
  const int64_t count = x.dim(0), cols = x.dim(1);
  magnitudes.resize(static_cast<size_t>(cols), 0.0);
  maxima.resize(static_cast<size_t>(cols), 0.0f);
  const Tensor inputs = x.contiguous();
  for (int64_t t = 0; t < count; ++t)
    for (int64_t k = 0; k < cols; ++k) {
      const float size = std::abs(inputs.data<float>()[t * cols + k]);
      magnitudes[static_cast<size_t>(k)] += size;
      maxima[static_cast<size_t>(k)] = std::max(maxima[static_cast<size_t>(k)], size);
    }
  rows += count;
  if (!has_gram) return;
  if (!gram.defined()) gram = Tensor::zeros({cols, cols}, DType::f32);
  if (count == 0) return;
  const Tensor columns = turned(inputs);
  const Tensor product = ops::matmul(ctx, columns, *packed_floats(ctx, columns));
  const float* from = product.data<float>();
  float* to = gram.data<float>();
  ctx.pool->parallel_for(cols, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * cols; i < end * cols; ++i) to[i] += from[i];
  });
}

std::vector<float> InputStatistics::diagonal() const {
  const int64_t size = gram.dim(0);
  std::vector<float> out(static_cast<size_t>(size));
  for (int64_t k = 0; k < size; ++k) out[static_cast<size_t>(k)] = gram.data<float>()[k * size + k];
  return out;
}

void StatisticsObserver::saw(std::string_view path, const Tensor& x) {
  // The output matrix, of which no row is wanted; and what a tower reads.
  if (x.dim(0) == 0 || !path.starts_with("model.layers.")) return;
  if (experts_ == Experts::by_router && routed_expert_of(path)) return;
  const bool is_router = path.ends_with(kRouter);
  seen_.try_emplace(std::string(path)).first->second.add(ctx_, x, !is_router);
  if (!is_router) return;
  const Tensor inputs = x.contiguous();
  width_ = x.dim(1);
  routed_.insert(routed_.end(), inputs.span<float>().begin(), inputs.span<float>().end());
}

void StatisticsObserver::record(std::string_view name, int, const Tensor& value) {
  if (name != "router_ids") return;
  choices_ = value.dim(1);
  for (const float id : value.span<float>()) chosen_.push_back(static_cast<int32_t>(id));
}

std::string StatisticsObserver::path_of(const std::string& name) const {
  struct Shared {
    std::string_view end, first;
  };
  constexpr Shared kShared[] = {{"k_proj", "q_proj"},
                                {"v_proj", "q_proj"},
                                {"up_proj", "gate_proj"},
                                {"kv_a_proj_with_mqa", "q_a_proj"}};
  for (const Shared& s : kShared) {
    if (!name.ends_with("." + std::string(s.end))) continue;
    std::string first = name.substr(0, name.size() - s.end.size()) + std::string(s.first);
    if (seen_.contains(first)) return first;
  }
  return name;
}

const InputStatistics& StatisticsObserver::of(const std::string& name) const {
  const auto it = seen_.find(path_of(name));
  if (it == seen_.end())
    fail(ErrorCode::internal, "{}: was not run by the calibration texts", name);
  return it->second;
}

Tensor StatisticsObserver::rows_of(int64_t expert) const {
  QUERN_CHECK(chosen_.size() * static_cast<size_t>(width_) ==
                  routed_.size() * static_cast<size_t>(choices_),
              "{} choices of {}",
              chosen_.size(),
              choices_);
  std::vector<float> out;
  for (size_t i = 0; i < chosen_.size(); ++i) {
    if (chosen_[i] != expert) continue;
    const auto row = routed_.begin() + static_cast<int64_t>(i) / choices_ * width_;
    out.insert(out.end(), row, row + width_);
  }
  const int64_t count = width_ == 0 ? 0 : static_cast<int64_t>(out.size()) / width_;
  return Tensor::from(out, {count, width_});
}

void StatisticsObserver::divide(const std::string& name, const std::vector<float>& scales) {
  const std::string path = path_of(name);
  divide_statistics(seen_.at(path), scales);
  if (!path.ends_with(kRouter)) return;
  for (size_t i = 0; i < routed_.size(); ++i) routed_[i] /= scales[i % static_cast<size_t>(width_)];
}

}  // namespace quern

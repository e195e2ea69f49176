// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "cache/kv_cache.h"
#include "comm/communicator.h"
#include "models/registry.h"
#include "nn/builder.h"
#include "ops/matmul.h"

namespace quern {
namespace {

constexpr int kBlockSize = 16;

// x [T, K] -> x' [K, T].
Tensor turned(const Tensor& x) {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  Tensor out = Tensor::empty({cols, rows}, DType::f32);
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t k = 0; k < cols; ++k)
      out.data<float>()[k * rows + t] = x.data<float>()[t * cols + k];
  return out;
}

// One sequence as a step of its own.
Batch batch_of(const std::vector<int32_t>& ids, int axes) {
  Batch out;
  const auto count = static_cast<int32_t>(ids.size());
  out.tokens = ids;
  out.axes = axes;
  for (int axis = 0; axis < axes; ++axis)
    for (int32_t t = 0; t < count; ++t) out.positions.push_back(t);
  out.block_size = kBlockSize;
  out.blocks_per_row = (count + kBlockSize - 1) / kBlockSize;
  for (int32_t b = 0; b < out.blocks_per_row; ++b) out.block_tables.push_back(b);
  for (int32_t t = 0; t < count; ++t) out.slots.push_back(t);
  out.offsets = {0, count};
  out.context_lengths = {count};
  return out;
}

}  // namespace

std::unique_ptr<ops::PackedWeight> packed_floats(const Ctx& ctx, const Tensor& weights) {
  std::vector<QuantMatrix> parts(1);
  parts[0].codes = weights;
  return ops::pack_weight(ctx, std::move(parts));
}

double gram_loss(Ctx& ctx, const Tensor& errors, const ops::PackedWeight& gram) {
  const Tensor product = ops::matmul(ctx, errors, gram);
  const auto e = errors.span<float>(), p = product.span<float>();
  double sum = 0;
  for (size_t i = 0; i < e.size(); ++i) sum += static_cast<double>(e[i]) * p[i];
  return sum;
}

std::vector<float> InputStatistics::diagonal() const {
  const int64_t size = gram.dim(0);
  std::vector<float> out(static_cast<size_t>(size));
  for (int64_t k = 0; k < size; ++k) out[static_cast<size_t>(k)] = gram.data<float>()[k * size + k];
  return out;
}

void StatisticsObserver::saw(std::string_view path, const Tensor& x) {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  if (rows == 0) return;  // the output matrix, of which no row is wanted
  const auto it = seen_.try_emplace(std::string(path)).first;
  InputStatistics& s = it->second;
  if (!s.gram.defined()) {
    s.gram = Tensor::zeros({cols, cols}, DType::f32);
    s.magnitudes.assign(static_cast<size_t>(cols), 0.0);
  }
  const Tensor inputs = x.contiguous();
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t k = 0; k < cols; ++k)
      s.magnitudes[static_cast<size_t>(k)] += std::abs(inputs.data<float>()[t * cols + k]);
  s.rows += rows;
  const Tensor columns = turned(inputs);
  const Tensor product = ops::matmul(ctx_, columns, *packed_floats(ctx_, columns));
  const float* from = product.data<float>();
  float* to = s.gram.data<float>();
  ctx_.pool->parallel_for(cols, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * cols; i < end * cols; ++i) to[i] += from[i];
  });
}

const InputStatistics& StatisticsObserver::of(const std::string& path) const {
  const auto it = seen_.find(path);
  if (it == seen_.end())
    fail(ErrorCode::internal, "{}: was not run by the calibration texts", path);
  return it->second;
}

void StatisticsObserver::divide(const std::string& path, const std::vector<float>& scales) {
  InputStatistics& s = seen_.at(path);
  const int64_t size = s.gram.dim(0);
  for (int64_t i = 0; i < size; ++i) {
    s.magnitudes[static_cast<size_t>(i)] /= scales[static_cast<size_t>(i)];
    for (int64_t j = 0; j < size; ++j)
      s.gram.data<float>()[i * size + j] /=
          scales[static_cast<size_t>(i)] * scales[static_cast<size_t>(j)];
  }
}

void WorkingLayer::set(const std::string& name, const Tensor& values) {
  Entry& entry = entries_[name];
  entry.info.name = name;
  entry.info.shape = values.shape();  // f32, as TensorInfo begins
  entry.values = values.contiguous();
}

const Tensor& WorkingLayer::at(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) fail(ErrorCode::not_found, "{}: no such tensor in this layer", name);
  return it->second.values;
}

const TensorInfo* WorkingLayer::find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? rest_->find(name) : &it->second.info;
}

std::vector<std::string> WorkingLayer::names() const {
  std::vector<std::string> out = rest_->names();
  for (const auto& [name, entry] : entries_) out.push_back(name);
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

std::span<const std::byte> WorkingLayer::bytes(std::string_view name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return rest_->bytes(name);
  return {it->second.values.raw(), static_cast<size_t>(it->second.values.bytes())};
}

// Where the stage of one layer meets "the others": its input comes from the tape, its output goes
// there.
class CalibrationStream::Tape final : public Communicator {
 public:
  Tape(int rank, int size) : rank_(rank), size_(size) {}

  std::vector<float> input, output;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void send(int, std::span<const float> values) override {
    output.assign(values.begin(), values.end());
  }
  void receive(int, std::span<float> values) override {
    QUERN_CHECK(values.size() == input.size(), "{} of {}", input.size(), values.size());
    std::ranges::copy(input, values.begin());
  }
  void all_reduce_sum(std::span<float>) override { QUERN_CHECK(false); }
  void all_reduce_max(std::span<float>) override { QUERN_CHECK(false); }
  void gather(std::span<const float>, std::span<const int64_t>, std::span<float>) override {
    QUERN_CHECK(false);
  }
  void barrier() override {}

 private:
  int rank_, size_;
};

CalibrationStream::CalibrationStream(Ctx& ctx,
                                     const std::vector<std::vector<int32_t>>& sequences,
                                     int layers)
    : ctx_(ctx), sequences_(sequences), layers_(layers), states_(sequences.size()) {}

int64_t CalibrationStream::bytes(const std::vector<std::vector<int32_t>>& sequences,
                                 int64_t hidden) {
  int64_t tokens = 0;
  for (const std::vector<int32_t>& ids : sequences) tokens += static_cast<int64_t>(ids.size());
  return tokens * hidden * static_cast<int64_t>(sizeof(float));
}

void CalibrationStream::observe(const std::shared_ptr<const Checkpoint>& checkpoint,
                                LinearObserver& observer) {
  run(checkpoint, &observer, false);
}

void CalibrationStream::advance(const std::shared_ptr<const Checkpoint>& checkpoint) {
  if (layer_ + 1 < layers_) run(checkpoint, nullptr, true);
  ++layer_;
}

void CalibrationStream::run(const std::shared_ptr<const Checkpoint>& checkpoint,
                            LinearObserver* observer,
                            bool keeps) {
  Tape tape(layer_, layers_);
  Ctx ctx = ctx_;
  ctx.stages = layers_ > 1 ? &tape : nullptr;
  const std::unique_ptr<Model> model = make_model(
      Builder(checkpoint, ctx, {}, {.observer = observer, .stage = Shard(layer_, layers_)}));
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const Batch batch = batch_of(sequences_[i], model->info().rope_axes);
    KvCache kv(model->kv_spec(), batch.blocks_per_row, kBlockSize, ctx.device);
    tape.input = states_[i];
    (void)model->forward(ctx, batch, kv);
    if (keeps) states_[i] = std::move(tape.output);
  }
}

}  // namespace quern

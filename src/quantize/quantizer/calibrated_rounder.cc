// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/calibrated_rounder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "quantize/quantizer/awq.h"
#include "quantize/quantizer/calibration.h"
#include "quantize/quantizer/gptq.h"
#include "quantize/quantizer/written_part.h"

namespace quern {
namespace {

Tensor difference(const Tensor& a, const Tensor& b) {
  Tensor out = Tensor::empty(a.shape(), DType::f32);
  const auto x = a.span<float>(), y = b.span<float>(), z = out.span<float>();
  for (size_t i = 0; i < z.size(); ++i) z[i] = x[i] - y[i];
  return out;
}

class CalibratedRounder final : public LayerRounder {
 public:
  CalibratedRounder(const QuantizeRequest& request, const SourceModel& source)
      : request_(request),
        source_(source),
        ctx_(request.machine),
        plain_config_(Config::parse(source.config().dump(), "config.json")),
        parts_(source.units().size()),
        stream_(ctx_.ctx(), request.calibration, source.layers()) {}

  void expect_possible() const override {
    expect_sizes(request_.scheme, source_);
    const int64_t needed = needed_bytes();
    if (request_.max_memory > 0 && needed > request_.max_memory)
      fail(ErrorCode::exhausted,
           "--max-memory: {} takes about {:.2f} GB ({:.2f} GB of it hidden states of the "
           "calibration texts), {:.2f} GB are allowed: use fewer --calibration-tokens, or a scheme "
           "that needs none",
           request_.scheme.name,
           1e-9 * static_cast<double>(needed),
           1e-9 * static_cast<double>(state_bytes()),
           1e-9 * static_cast<double>(request_.max_memory));
  }

  void round(size_t unit, FunctionRef<void(RoundedModule)> take) override {
    if (unit == 0) return;
    while (stream_.layer() + 1 < static_cast<int>(unit)) step();
    const std::shared_ptr<WorkingLayer> layer = layer_of(*source_.checkpoint(), unit);
    StatisticsObserver seen(ctx_.ctx());
    stream_.observe(layer, seen);
    if (request_.scheme.rounding == Rounding::awq) fold(unit, *layer, seen, take);
    for (const std::string& name : source_.units()[unit].quantized)
      take(rounded(*layer, seen, name));
  }

  // Texts run through it only when a later layer asks for them: a run that finds everything written
  // runs nothing.
  void part_written(size_t unit, const std::string& path, const Config& config) override {
    parts_[unit] = open_part(path, config);
  }

 private:
  int64_t state_bytes() const {
    const int64_t hidden =
        source_.checkpoint()->config().sub_or_self("text_config").integer("hidden_size");
    return CalibrationStream::bytes(request_.calibration, hidden);
  }

  int64_t needed_bytes() const {
    int64_t most = 0;
    for (const SourceUnit& unit : source_.units()) {
      int64_t weights = 0, widest = 0, grams = 0;
      for (const std::string& name : unit.quantized) {
        const Shape shape = source_.shape_of(name);
        const int64_t inputs = shape[1];
        weights += shape.numel();
        widest = std::max(widest, inputs);
        if (name.ends_with("q_proj") || name.ends_with("o_proj") || name.ends_with("gate_proj") ||
            name.ends_with("down_proj"))
          grams += inputs * inputs * 4;
      }
      // The layer as float32 twice (as tensors and packed) and decoded; a Hessian's factor in
      // float64 beside its inverse, and as float32.
      most = std::max(most, weights * 13 + grams + widest * widest * 24);
    }
    return most + state_bytes();
  }

  // The unit's layer by `checkpoint` (the source, or what was written), over the first part's rest.
  std::shared_ptr<WorkingLayer> layer_of(const Checkpoint& checkpoint, size_t unit) const {
    auto out = std::make_shared<WorkingLayer>(parts_.front(), plain_config_);
    const SourceUnit& u = source_.units()[unit];
    for (const auto* names : {&u.quantized, &u.widened})
      for (const std::string& name : *names)
        out->set(name + ".weight", read_weights(checkpoint, name));
    for (const std::string& name : u.tensors) out->set(name, read_f32(checkpoint, name));
    return out;
  }

  // Runs the texts through the next layer as it was written.
  void step() {
    const auto unit = static_cast<size_t>(stream_.layer() + 1);
    stream_.advance(layer_of(*parts_[unit], unit));
    if (unit > 1) parts_[unit - 1].reset();
  }

  // The path under which the inputs of a layer were seen: it shares them with the first of a stack.
  static std::string input_path(const std::string& name) {
    struct Shared {
      std::string_view end, first;
    };
    constexpr Shared kShared[] = {
        {"k_proj", "q_proj"}, {"v_proj", "q_proj"}, {"up_proj", "gate_proj"}};
    for (const Shared& s : kShared)
      if (name.ends_with("." + std::string(s.end)))
        return name.substr(0, name.size() - s.end.size()) + std::string(s.first);
    return name;
  }

  void fold(size_t unit,
            WorkingLayer& layer,
            StatisticsObserver& seen,
            FunctionRef<void(RoundedModule)> take) {
    AwqFolding folding(ctx_.ctx(), grid_of(request_.scheme, source_), layer, seen);
    const std::string prefix = format("model.layers.{}.", unit - 1);
    const std::vector<std::string>& quantized = source_.units()[unit].quantized;
    const auto stored = [&](const std::string& tensor) {
      return source_.checkpoint()->info(tensor).stored;
    };
    folding.fold_layer(prefix, {quantized.begin(), quantized.end()}, stored);
    for (NamedTensor& tensor : folding.take_changed()) {
      RoundedModule changed;
      changed.name = tensor.name;
      changed.rounded.tensors.push_back(std::move(tensor));
      take(std::move(changed));
    }
    ratios_ = folding.ratios();
  }

  RoundedModule rounded(const WorkingLayer& layer,
                        const StatisticsObserver& seen,
                        const std::string& name) {
    const Tensor& weights = layer.at(name + ".weight");
    const IntGrid grid = grid_of(request_.scheme, source_);
    expect_storable(weights, grid, name);
    const std::string path = input_path(name);
    const InputStatistics& inputs = seen.of(path);
    RoundedModule out;
    out.name = name;
    const IntLayer codes = request_.scheme.rounding == Rounding::gptq
                               ? by_gptq(weights, inputs, path, grid, out.findings)
                               : by_awq(weights, inputs, name, grid, out.findings);
    out.rounded = laid_out(codes, request_.scheme, name);
    Ctx& ctx = ctx_.ctx();
    const auto gram = packed_floats(ctx, inputs.gram);
    out.findings["weight_error"] = relative_error(weights, out.rounded.values);
    const double whole = gram_loss(ctx, weights, *gram);
    out.findings["output_error"] =
        whole > 0 ? gram_loss(ctx, difference(weights, out.rounded.values), *gram) / whole : 0;
    out.findings["calibration_rows"] = static_cast<double>(inputs.rows);
    return out;
  }

  IntLayer by_gptq(const Tensor& weights,
                   const InputStatistics& inputs,
                   const std::string& path,
                   const IntGrid& grid,
                   std::map<std::string, double>& findings) {
    ThreadPool& pool = *ctx_.ctx().pool;
    if (prepared_for_ != path) {
      prepared_ = prepare_gptq(pool, inputs, request_.scheme);
      prepared_for_ = path;
      if (!prepared_.factor.defined())
        log(LogLevel::warn,
            "{}: its Hessian is not positive definite, however damped: rounded to nearest",
            path);
    }
    findings["damping"] = prepared_.damping;
    if (!prepared_.factor.defined()) findings["rounded_to_nearest"] = 1;
    return round_by_gptq(pool, weights, prepared_, grid, request_.scheme.searches_ranges);
  }

  // Ranges of q and k are left as they are: what they make is exponentiated, and their largest
  // products matter most.
  IntLayer by_awq(const Tensor& weights,
                  const InputStatistics& inputs,
                  const std::string& name,
                  const IntGrid& grid,
                  std::map<std::string, double>& findings) {
    const bool searches =
        request_.scheme.searches_ranges && !name.ends_with(".q_proj") && !name.ends_with(".k_proj");
    if (const auto it = ratios_.find(name); it != ratios_.end()) findings["ratio"] = it->second;
    return round_to_nearest(*ctx_.ctx().pool,
                            weights,
                            grid,
                            searches ? RangeSearch::by_gram : RangeSearch::none,
                            inputs.diagonal(),
                            inputs.gram);
  }

  const QuantizeRequest& request_;
  const SourceModel& source_;
  OwnedCtx ctx_;
  Config plain_config_;
  std::vector<std::shared_ptr<const Checkpoint>> parts_;
  CalibrationStream stream_;
  // Of one layer: q, k and v share a factor, as do gate and up.
  std::string prepared_for_;
  GptqInput prepared_;
  std::map<std::string, double> ratios_;
};

}  // namespace

std::unique_ptr<LayerRounder> make_calibrated_rounder(const QuantizeRequest& request,
                                                      const SourceModel& source) {
  return std::make_unique<CalibratedRounder>(request, source);
}

}  // namespace quern

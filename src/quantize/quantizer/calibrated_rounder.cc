// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/calibrated_rounder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "nn/builder.h"
#include "nn/mlp.h"
#include "quantize/quantizer/awq.h"
#include "quantize/quantizer/calibration.h"
#include "quantize/quantizer/gptq.h"
#include "quantize/quantizer/smoothing.h"
#include "quantize/quantizer/working_layer.h"
#include "quantize/quantizer/written_part.h"

namespace quern {
namespace {

// Sequences are run together up to so many tokens where a layer has experts.
constexpr int64_t kExpertStepTokens = 4096;
// An input that fewer rows than a part of its width were seen of says little of an expert.
constexpr int64_t kLeastRowsPart = 4;

Tensor difference(const Tensor& a, const Tensor& b) {
  Tensor out = Tensor::empty(a.shape(), DType::f32);
  const auto x = a.span<float>(), y = b.span<float>(), z = out.span<float>();
  for (size_t i = 0; i < z.size(); ++i) z[i] = x[i] - y[i];
  return out;
}

// "model.layers.1.mlp.experts.7.up_proj" -> "model.layers.1.mlp.experts.7."
std::string prefix_of(const std::string& name) {
  return name.substr(0, name.rfind('.') + 1);
}

bool has_experts(const SourceUnit& unit) {
  return std::ranges::any_of(
      unit.quantized, [](const std::string& name) { return routed_expert_of(name).has_value(); });
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
           "calibration texts), {:.2f} GB are allowed: use fewer --calibration-tokens, or {}",
           request_.scheme.name,
           1e-9 * static_cast<double>(needed),
           1e-9 * static_cast<double>(state_bytes()),
           1e-9 * static_cast<double>(request_.max_memory),
           request_.scheme.is_float() ? "--calibration none" : "a scheme that needs none");
  }

  void round(size_t unit, FunctionRef<void(RoundedModule)> take) override {
    if (unit == 0) return;
    while (stream_.layer() + 1 < static_cast<int>(unit)) step();
    const std::shared_ptr<WorkingLayer> layer = source_layer(unit);
    StatisticsObserver seen(ctx_.ctx());
    set_step(unit);
    stream_.observe(layer, seen, &seen);
    const ScaleFolding::Layer folded = folded_layer(unit);
    fold(*layer, seen, take, [&](ScaleFolding& folding, ScaleFolding::Choose choose) {
      folding.fold_layer(folded, choose);
    });
    const std::vector<std::string>& names = source_.units()[unit].quantized;
    for (size_t i = 0; i < names.size();) {
      const std::string prefix = prefix_of(names[i]);
      size_t end = i + 1;
      if (routed_expert_of(names[i]))
        while (end < names.size() && names[end].starts_with(prefix)) ++end;
      const std::span<const std::string> some = std::span(names).subspan(i, end - i);
      if (routed_expert_of(names[i]))
        round_expert(folded, layer, seen, some, take);
      else
        take(rounded(*layer, seen, names[i]));
      i = end;
    }
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
      int64_t weights = 0, codes = 0, expert = 0, widest = 0, largest = 0, grams = 0;
      for (const std::string& name : unit.quantized) {
        const Shape shape = source_.shape_of(name);
        const int64_t inputs = shape[1];
        codes += shape.numel() * request_.scheme.bits / 8;
        widest = std::max(widest, inputs);
        largest = std::max(largest, shape.numel());
        if (routed_expert_of(name)) {
          expert = std::max(expert, shape.numel() * 13 + inputs * inputs * 4);
          continue;
        }
        weights += shape.numel();
        // Others share the inputs of the first of their stack.
        if (!name.ends_with(".k_proj") && !name.ends_with(".v_proj") && !name.ends_with(".up_proj"))
          grams += inputs * inputs * 4;
      }
      // While texts run: the layer as float32 twice (as tensors and packed) and as the file has it,
      // and what one text adds to a Hessian. While it is rounded: the layer once; of GPTQ a
      // Hessian's factor in float64 beside its inverse, and as float32; else the Hessian packed, a
      // matrix's values and errors. Of routed experts two are in memory (the one that is run and
      // the one before it), all as codes; what the router read is kept.
      const int64_t kept = has_experts(unit) ? 6 * expert + state_bytes() : 0;
      const int64_t running = weights * 10 + widest * widest * 4;
      const int64_t rounding =
          weights * 4 + codes +
          (request_.scheme.rounding == Rounding::gptq ? widest * widest * 24
                                                      : widest * widest * 4 + largest * 12);
      most = std::max(most, std::max(running, rounding) + grams + kept);
    }
    return most + state_bytes();
  }

  // The unit's layer by the source, or by what was written, over the first part's rest. Matrices of
  // experts are read whenever they are wanted.
  using Read = std::function<Tensor(const std::string&)>;
  std::shared_ptr<WorkingLayer> layer_of(size_t unit,
                                         const Read& matrix,
                                         const Read& tensor) const {
    auto out = std::make_shared<WorkingLayer>(parts_.front(), plain_config_);
    const auto add = [&](const std::string& name, const Shape& shape, auto read) {
      if (routed_expert_of(name))
        out->set_lazy(name, shape, read);
      else
        out->set(name, read());
    };
    const SourceUnit& u = source_.units()[unit];
    for (const auto* names : {&u.quantized, &u.widened})
      for (const std::string& name : *names)
        add(name + ".weight", source_.shape_of(name), [matrix, name] { return matrix(name); });
    for (const std::string& name : u.tensors) {
      const Shape shape = source_.padding().padded(name, source_.checkpoint()->info(name).shape);
      add(name, shape, [tensor, name] { return tensor(name); });
    }
    return out;
  }
  std::shared_ptr<WorkingLayer> source_layer(size_t unit) const {
    return layer_of(
        unit,
        [this](const std::string& name) { return source_.weights(name); },
        [this](const std::string& name) { return source_.floats(name); });
  }
  std::shared_ptr<WorkingLayer> written_layer(size_t unit) const {
    const std::shared_ptr<const Checkpoint> part = parts_[unit];
    return layer_of(
        unit,
        [part](const std::string& name) { return read_weights(*part, name); },
        [part](const std::string& name) { return read_f32(*part, name); });
  }
  void set_step(size_t unit) {
    stream_.set_step_tokens(has_experts(source_.units()[unit]) ? kExpertStepTokens : 0);
  }

  // Runs the texts through the next layer as it was written.
  void step() {
    const auto unit = static_cast<size_t>(stream_.layer() + 1);
    set_step(unit);
    stream_.advance(written_layer(unit));
    if (unit > 1) parts_[unit - 1].reset();
  }

  ScaleFolding::Layer folded_layer(size_t unit) const {
    const std::vector<std::string>& quantized = source_.units()[unit].quantized;
    return {
        format("model.layers.{}.", unit - 1),
        {quantized.begin(), quantized.end()},
        [this](const std::string& tensor) { return source_.checkpoint()->info(tensor).stored; }};
  }

  // By the scheme's choice of scales, if it has one; hands on what changed besides matrices.
  void fold(WorkingLayer& layer,
            StatisticsObserver& seen,
            FunctionRef<void(RoundedModule)> take,
            FunctionRef<void(ScaleFolding&, ScaleFolding::Choose)> run) {
    ScaleFolding folding(layer, seen);
    const Scheme& scheme = request_.scheme;
    if (scheme.rounding == Rounding::awq) {
      AwqSearch search(ctx_.ctx(), grid_of(scheme, source_), layer, seen);
      run(folding, [&](const FoldedPair& pair) { return search(pair); });
      ratios_.insert(search.ratios().begin(), search.ratios().end());
    } else if (scheme.smoothing > 0) {
      run(folding, [&](const FoldedPair& pair) {
        return smoothing_scales(layer, seen, pair, scheme.smoothing);
      });
    }
    for (NamedTensor& tensor : folding.take_changed()) {
      RoundedModule changed;
      changed.name = tensor.name;
      changed.rounded.tensors.push_back(std::move(tensor));
      take(std::move(changed));
    }
  }

  // The matrices of one expert, by what the tokens that chose it give it.
  void round_expert(const ScaleFolding::Layer& folded,
                    const std::shared_ptr<WorkingLayer>& layer,
                    const StatisticsObserver& all,
                    std::span<const std::string> names,
                    FunctionRef<void(RoundedModule)> take) {
    const std::string prefix = prefix_of(names.front());
    const Tensor rows = all.rows_of(*routed_expert_of(names.front()));
    StatisticsObserver seen(ctx_.ctx(), StatisticsObserver::Experts::alone);
    if (rows.dim(0) > 0) {
      const Shape shape = layer->info(prefix + "up_proj.weight").shape;
      const Builder b(layer, ctx_.ctx(), {}, {.observer = &seen});
      const GatedMlp mlp(b / prefix.substr(0, prefix.size() - 1), shape[1], shape[0]);
      (void)mlp(ctx_.ctx(), rows);
    }
    if (is_known(*layer, rows.dim(0), prefix + "down_proj"))
      fold(*layer, seen, take, [&](ScaleFolding& folding, ScaleFolding::Choose choose) {
        folding.fold_gated(folded, prefix, choose);
      });
    for (const std::string& name : names)
      take(is_known(*layer, rows.dim(0), name) ? rounded(*layer, seen, name)
                                               : rounded_blindly(*layer, rows.dim(0), name));
  }

  static bool is_known(const WorkingLayer& layer, int64_t rows, const std::string& name) {
    return rows > 0 && rows * kLeastRowsPart >= layer.info(name + ".weight").shape[1];
  }

  // A matrix of an expert that too few tokens chose: by its weights alone.
  RoundedModule rounded_blindly(const WorkingLayer& layer, int64_t rows, const std::string& name) {
    const Tensor weights = layer.at(name + ".weight");
    RoundedModule out;
    out.name = name;
    out.rounded = round_by_weights(*ctx_.ctx().pool, weights, request_.scheme, source_, name);
    out.findings["weight_error"] = relative_error(weights, out.rounded.values);
    out.findings["calibration_rows"] = static_cast<double>(rows);
    out.findings["rounded_to_nearest"] = 1;
    return out;
  }

  RoundedModule rounded(const WorkingLayer& layer,
                        const StatisticsObserver& seen,
                        const std::string& name) {
    const Tensor weights = layer.at(name + ".weight");
    const IntGrid grid = grid_of(request_.scheme, source_);
    expect_storable(weights, grid, name);
    const InputStatistics& inputs = seen.of(name);
    RoundedModule out;
    out.name = name;
    if (request_.scheme.rounding == Rounding::gptq) {
      out.rounded = by_gptq(weights, inputs, seen.path_of(name), name, grid, out.findings);
    } else {
      const IntLayer codes = request_.scheme.rounding == Rounding::awq
                                 ? by_awq(weights, inputs, name, grid, out.findings)
                                 : to_bytes(weights, inputs, grid);
      out.rounded = laid_out(codes, request_.scheme, name);
    }
    Ctx& ctx = ctx_.ctx();
    const auto gram = packed_floats(ctx, inputs.gram);
    out.findings["weight_error"] = relative_error(weights, out.rounded.values);
    const std::vector<int64_t> outputs = judged_outputs(weights);
    const Tensor judged = rows_at(weights, outputs);
    const double whole = gram_loss(ctx, judged, *gram);
    const Tensor errors = difference(judged, rows_at(out.rounded.values, outputs));
    out.findings["output_error"] = whole > 0 ? gram_loss(ctx, errors, *gram) / whole : 0;
    out.findings["calibration_rows"] = static_cast<double>(inputs.rows);
    return out;
  }

  IntLayer to_bytes(const Tensor& weights, const InputStatistics& inputs, const IntGrid& grid) {
    return round_to_nearest(
        *ctx_.ctx().pool,
        weights,
        grid,
        request_.scheme.searches_ranges ? RangeSearch::by_importance : RangeSearch::none,
        inputs.diagonal());
  }

  RoundedLayer by_gptq(const Tensor& weights,
                       const InputStatistics& inputs,
                       const std::string& path,
                       const std::string& name,
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
    const Scheme& scheme = request_.scheme;
    if (scheme.is_float())
      return round_by_gptq(
          pool, weights, prepared_, e4m3_matrix(pool, weights, scheme, grid), name);
    return laid_out(
        round_by_gptq(pool, weights, prepared_, grid, scheme.searches_ranges), scheme, name);
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

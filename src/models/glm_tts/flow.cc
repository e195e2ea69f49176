// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/flow.h"

#include <algorithm>
#include <numbers>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "models/glm_tts/flow_layers.h"
#include "models/glm_tts/flow_mask.h"

namespace quern {
namespace {

constexpr int64_t kMostSteps = 100;
constexpr int64_t kMostDepth = 1000;
constexpr uint64_t kNoiseChoice = 0;  // of the random numbers of a seed
constexpr FlowBranch kBothBranches[] = {FlowBranch::guided, FlowBranch::free};

// Where the network begins: names of published files have "estimator." before them.
Builder network_root(const Builder& b) {
  return b.has("estimator.proj_out.weight") ? b / "estimator" : b;
}

int64_t matrix_dim(const Builder& b, std::string_view name, int axis) {
  const Shape shape = stored_shape(b, name);
  if (shape.rank() < 2 || shape.numel() == 0)
    fail(ErrorCode::data_loss, "{}.{}: expected a matrix, got {}", b.prefix(), name, shape.text());
  return shape[axis];
}

int64_t count_below(const Builder& b, std::string_view list, std::string_view tensor) {
  int64_t n = 0;
  while (n < kMostDepth && b.has(format("{}.{}.{}", list, n, tensor))) ++n;
  return n;
}

int64_t groups_of(const Builder& b, int64_t width) {
  const int64_t inputs = matrix_dim(b, "emb_concator.conv_pos_embed.conv1d.0.weight", 1);
  if (width % inputs != 0)
    fail(ErrorCode::data_loss,
         "{}.emb_concator.conv_pos_embed: groups of {} of {} channels",
         b.prefix(),
         inputs,
         width);
  return width / inputs;
}

FlowSizes read_sizes(const Builder& b) {
  FlowSizes s;
  s.bands = matrix_dim(b, "proj_out.weight", 0);
  s.width = matrix_dim(b, "proj_out.weight", 1);
  s.head_size = 2 * stored_shape(b, "rotary_embed.inv_freq").numel();
  s.heads = s.head_size > 0 ? s.width / s.head_size : 0;
  s.depth = count_below(b, "transformer_blocks", "attn_norm.linear.weight");
  s.vocab = matrix_dim(b, "text_emb_layer.text_embed.weight", 0);
  s.text_width = matrix_dim(b, "text_emb_layer.text_embed.weight", 1);
  s.text_blocks = count_below(b, "text_emb_layer.text_blocks", "pwconv1.weight");
  s.time_inputs = matrix_dim(b, "time_embed.time_mlp.0.weight", 1);
  s.groups = groups_of(b, s.width);
  if (s.text_blocks > 0)
    s.text_inner = matrix_dim(b / "text_emb_layer.text_blocks.0", "pwconv1.weight", 0);
  if (s.heads * s.head_size != s.width || s.depth == 0 || s.text_width % 2 != 0 ||
      s.time_inputs % 2 != 0 || s.time_inputs < 4)
    fail(ErrorCode::data_loss,
         "{}: width {} in heads of {}, {} blocks, embedding of {}, {} inputs of time: no such "
         "network",
         b.prefix(),
         s.width,
         s.head_size,
         s.depth,
         s.text_width,
         s.time_inputs);
  const Builder first = b / "transformer_blocks.0";
  s.inner = matrix_dim(first, "ff.ff.0.0.weight", 0);
  s.speaker = matrix_dim(first, "attn_norm.linear.weight", 1) - s.width;
  if (s.speaker <= 0)
    fail(ErrorCode::unsupported,
         "{}: no speaker vector enters the norms: this build carries networks that have one",
         b.prefix());
  return s;
}

void refuse_other_parts(const Builder& root, const Builder& b) {
  for (const auto& [place, name] :
       {std::pair{&root, "spk_embed_affine_layer.weight"}, {&b, "long_skip_connection.weight"}})
    if (place->has(name))
      fail(ErrorCode::unsupported,
           "{} is in the file: this build carries networks without it",
           name);
}

// [T, D] -> [n T, D], below each other.
Tensor repeated(const Tensor& x, int64_t n) {
  Tensor out = Tensor::empty({n * x.dim(0), x.dim(1)}, DType::f32);
  for (int64_t i = 0; i < n; ++i)
    std::ranges::copy(x.span<float>(), out.data<float>() + i * x.numel());
  return out;
}

}  // namespace

FlowTimes::FlowTimes(int64_t steps) {
  const float even = 1.0f / static_cast<float>(steps);
  const auto span_at = [&](int64_t i) {  // as torch.linspace: from the nearer end
    const float t = i < (steps + 1) / 2 ? even * static_cast<float>(i)
                                        : 1.0f - even * static_cast<float>(steps - i);
    return 1.0f - std::cos(t * 0.5f * std::numbers::pi_v<float>);
  };
  float now = span_at(0);
  for (int64_t i = 0; i < steps; ++i) {
    at.push_back(now);
    length.push_back(span_at(i + 1) - now);
    now += length.back();
  }
}

struct FlowModel::Network {
  Network(const Builder& root, const FlowConfig& flow_config)
      : Network(root, network_root(root), flow_config) {}

  Tensor condition_rows(Ctx& ctx,
                        const FlowInput& input,
                        const FlowConditions& conditions,
                        Probe* probe) const;
  RopeTables rope(int64_t frames, int64_t branches) const;
  void check(const FlowInput& input) const;

  FlowConfig config;
  FlowSizes sizes;
  FlowTextEmbedding text;
  FlowTimeEmbedding time;
  FlowInputEmbedding input;
  Tensor frequencies;  // [E / 2]
  std::vector<FlowBlock> blocks;
  Linear last_modulation, proj_out;

 private:
  Network(const Builder& root, const Builder& b, const FlowConfig& flow_config);
};

FlowModel::Network::Network(const Builder& root, const Builder& b, const FlowConfig& flow_config)
    : config(flow_config),
      sizes(read_sizes(b)),
      text(b / "text_emb_layer", sizes),
      time(b / "time_embed", sizes),
      input(b / "emb_concator", sizes),
      frequencies(b.vector("rotary_embed.inv_freq", sizes.head_size / 2)),
      last_modulation(b.whole(
          {"norm_out.linear"}, 2 * sizes.width, sizes.width + sizes.speaker, Bias::present)),
      proj_out(b.whole({"proj_out"}, sizes.bands, sizes.width, Bias::present)) {
  QUERN_CHECK(b.shard().size() == 1, "{} ranks", b.shard().size());
  refuse_other_parts(root, b);
  for (int64_t i = 0; i < sizes.depth; ++i)
    blocks.emplace_back(b / "transformer_blocks" / i, sizes);
}

// [steps B, D + speaker]: the time of every step beside the speaker, or beside zeros; silu of both.
Tensor FlowModel::Network::condition_rows(Ctx& ctx,
                                          const FlowInput& in,
                                          const FlowConditions& conditions,
                                          Probe* probe) const {
  double squares = 0;
  for (const float value : in.speaker) squares += double{value} * value;
  const double length = std::max(std::sqrt(squares), 1e-12);
  const Tensor times = time(ctx, conditions.times.at);
  if (probe) probe->record("time_embed", 0, times);
  const auto branches = static_cast<int64_t>(conditions.branches.size());
  Tensor c = ctx.empty({times.dim(0) * branches, sizes.width + sizes.speaker});
  for (int64_t row = 0; row < c.dim(0); ++row) {
    const bool is_guided =
        conditions.branches[static_cast<size_t>(row % branches)] == FlowBranch::guided;
    float* out = std::copy_n(times.data<float>() + row / branches * sizes.width,
                             sizes.width,
                             c.data<float>() + row * c.dim(1));
    for (const float value : in.speaker)
      *out++ = is_guided ? static_cast<float>(value / length) : 0.0f;
  }
  ops::silu_(ctx, c);
  return c;
}

RopeTables FlowModel::Network::rope(int64_t frames, int64_t branches) const {
  const int64_t pairs = frequencies.dim(0);
  Tensor cos = Tensor::empty({frames, pairs}, DType::f32),
         sin = Tensor::empty({frames, pairs}, DType::f32);
  for (int64_t t = 0; t < frames; ++t)
    for (int64_t k = 0; k < pairs; ++k) {
      const double angle = static_cast<float>(t) * frequencies.data<float>()[k];
      cos.data<float>()[t * pairs + k] = static_cast<float>(std::cos(angle));
      sin.data<float>()[t * pairs + k] = static_cast<float>(std::sin(angle));
    }
  return {repeated(cos, branches), repeated(sin, branches)};
}

void FlowModel::Network::check(const FlowInput& in) const {
  const size_t tokens = in.prompt_tokens.size() + in.tokens.size(),
               bands = static_cast<size_t>(sizes.bands),
               most = static_cast<size_t>(kMostFlowFrames);
  if (tokens == 0) fail(ErrorCode::invalid_argument, "a recording of no speech tokens");
  if (in.prompt_mel.size() % bands != 0)
    fail(ErrorCode::invalid_argument,
         "a mel prompt of {} values: expected frames of {}",
         in.prompt_mel.size(),
         bands);
  const bool is_long = tokens > most || in.prompt_mel.size() / bands > most ||
                       config.frames(static_cast<int64_t>(tokens)) > kMostFlowFrames;
  if (is_long)
    fail(ErrorCode::invalid_argument,
         "a recording of {} speech tokens behind {} frames of a prompt: expected {} mel frames at "
         "most; cut the text into pieces",
         tokens,
         in.prompt_mel.size() / bands,
         kMostFlowFrames);
  if (static_cast<int64_t>(in.speaker.size()) != sizes.speaker)
    fail(ErrorCode::invalid_argument,
         "a speaker vector of {}: expected {}",
         in.speaker.size(),
         sizes.speaker);
  for (const auto ids : {in.prompt_tokens, in.tokens})
    for (const int32_t id : ids)
      if (id < 0 || id >= sizes.vocab)
        fail(ErrorCode::invalid_argument,
             "speech token {}: expected 0 to {}",
             id,
             sizes.vocab - 1);
}

FlowModel::FlowModel(const Builder& b, const FlowConfig& config)
    : network_(std::make_unique<const Network>(b, config)) {}
FlowModel::~FlowModel() = default;
FlowModel::FlowModel(FlowModel&&) noexcept = default;
FlowModel& FlowModel::operator=(FlowModel&&) noexcept = default;

const FlowSizes& FlowModel::sizes() const {
  return network_->sizes;
}
const FlowConfig& FlowModel::config() const {
  return network_->config;
}

Tensor FlowModel::start(const FlowOptions& options, int64_t frames) const {
  const int64_t bands = sizes().bands;
  if (!options.noise.empty() && static_cast<int64_t>(options.noise.size()) != frames * bands)
    fail(ErrorCode::invalid_argument,
         "{} values of noise: expected {} for {} frames of {} bands",
         options.noise.size(),
         frames * bands,
         frames,
         bands);
  if (!options.noise.empty()) return Tensor::from(options.noise, {frames, bands});
  Tensor x = Tensor::empty({frames, bands}, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = static_cast<float>(
        normal_deviate(options.seed, kNoiseChoice, static_cast<uint64_t>(i)));
  return x;
}

FlowConditions FlowModel::conditions(Ctx& ctx,
                                     const FlowInput& input,
                                     const FlowOptions& options,
                                     std::span<const FlowBranch> branches,
                                     Probe* probe) const {
  const Network& net = *network_;
  net.check(input);
  if (options.steps < 1 || options.steps > kMostSteps)
    fail(ErrorCode::invalid_argument, "{} steps: expected 1 to {}", options.steps, kMostSteps);
  QUERN_CHECK(!branches.empty());
  std::vector<int32_t> tokens(input.prompt_tokens.begin(), input.prompt_tokens.end());
  tokens.insert(tokens.end(), input.tokens.begin(), input.tokens.end());
  FlowConditions out;
  out.frames = net.config.frames(static_cast<int64_t>(tokens.size()));
  out.branches.assign(branches.begin(), branches.end());
  out.times = FlowTimes(options.steps);
  const auto count = static_cast<int64_t>(branches.size());
  for (int64_t i = 0; i <= count; ++i)
    out.segments.push_back(static_cast<int32_t>(i * out.frames));
  if (out.frames == 0) return out;

  // The last frames of the prompt, where it is longer than the recording.
  const int64_t bands = net.sizes.bands,
                kept = std::min<int64_t>(static_cast<int64_t>(input.prompt_mel.size()) / bands,
                                         out.frames);
  out.prompt = Tensor::zeros({out.frames, bands}, DType::f32);
  std::copy(input.prompt_mel.end() - kept * bands, input.prompt_mel.end(), out.prompt.data<float>());
  out.tokens = net.text(ctx, tokens, out.frames);
  if (probe) probe->record("text_embed", 0, out.tokens);
  const Tensor c = net.condition_rows(ctx, input, out, probe);
  for (const FlowBlock& block : net.blocks) out.modulations.push_back(block.modulation(ctx, c));
  out.modulations.push_back(net.last_modulation(ctx, c));
  out.rope = net.rope(out.frames, count);
  if (options.blocks.empty()) return out;
  const std::vector<int32_t> visible = visible_frames(options.blocks, out.frames);
  for (int64_t i = 0; i < count; ++i)
    out.visible.insert(out.visible.end(), visible.begin(), visible.end());
  return out;
}

Tensor FlowModel::velocity(Ctx& ctx,
                           const Tensor& x,
                           const FlowConditions& c,
                           int64_t step,
                           Probe* probe) const {
  const Network& net = *network_;
  const auto branches = static_cast<int64_t>(c.branches.size());
  QUERN_CHECK(c.frames > 0 && x.shape() == Shape({c.frames, net.sizes.bands}) &&
                  x.is_contiguous() && step >= 0 &&
                  step < static_cast<int64_t>(c.times.at.size()),
              "x {} for {} frames, step {}",
              x.shape().text(),
              c.frames,
              step);
  const int64_t bands = net.sizes.bands, width = 2 * bands + net.sizes.text_width;
  const Tensor rows = ctx.empty({branches * c.frames, width});
  for (int64_t r = 0; r < rows.dim(0); ++r) {
    const int64_t t = r % c.frames;
    const bool is_guided =
        c.branches[static_cast<size_t>(r / c.frames)] == FlowBranch::guided;
    float* out = std::copy_n(x.data<float>() + t * bands, bands, rows.data<float>() + r * width);
    out = is_guided ? std::copy_n(c.prompt.data<float>() + t * bands, bands, out)
                    : std::fill_n(out, bands, 0.0f);
    std::copy_n(c.tokens.data<float>() + t * net.sizes.text_width, net.sizes.text_width, out);
  }
  Tensor h = net.input(ctx, rows, c.segments);
  if (probe) probe->record("concat", 0, h);
  const auto now = [&](size_t i) {
    return c.modulations[i].slice(0, step * branches, (step + 1) * branches);
  };
  const FlowStep seen{c.rope, {c.segments, c.visible}};
  for (size_t i = 0; i < net.blocks.size(); ++i) {
    net.blocks[i](ctx, h, now(i), seen, i == 0 ? probe : nullptr);
    if (probe) probe->record("block", static_cast<int>(i), h);
  }
  const Tensor last = now(net.blocks.size());
  const Tensor normed = ops::modulated_norm(  // here the scale comes first
      ctx,
      h,
      {.shift = part_of(last, 1, 2), .scale = part_of(last, 0, 2), .segments = c.segments},
      kFlowNormEps);
  if (probe) probe->record("norm_out", 0, normed);
  return net.proj_out(ctx, normed);
}

Tensor FlowModel::integrate(Ctx& ctx,
                            Tensor x,
                            const FlowConditions& c,
                            float guidance,
                            BeforeStep before) const {
  const bool is_guided = c.branches.size() == 2;
  QUERN_CHECK(c.branches.size() == 1 ||
              std::ranges::equal(c.branches, std::span(kBothBranches)));
  for (size_t step = 0; step < c.times.at.size(); ++step) {
    before(static_cast<int64_t>(step), x);
    if (c.frames == 0) continue;
    const Tensor v = velocity(ctx, x, c, static_cast<int64_t>(step));
    const float *with = v.data<float>(), *without = is_guided ? with + x.numel() : nullptr;
    const float length = c.times.length[step], more = 1.0f + guidance;
    float* out = x.data<float>();
    for (int64_t i = 0; i < x.numel(); ++i)
      out[i] += length * (is_guided ? more * with[i] - guidance * without[i] : with[i]);
  }
  return x;
}

Tensor FlowModel::sample(Ctx& ctx,
                         const FlowInput& input,
                         const FlowOptions& options,
                         Probe* probe) const {
  const FlowConditions c = conditions(ctx, input, options, kBothBranches, probe);
  const Tensor mel =
      integrate(ctx, start(options, c.frames), c, options.guidance, [](int64_t, Tensor&) {});
  const int64_t prompt = static_cast<int64_t>(input.prompt_mel.size()) / sizes().bands;
  return mel.slice(0, std::min(prompt, c.frames), c.frames);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "nn/moe.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "nn/model.h"
#include "nn/ranks.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

constexpr int64_t kMostExperts = 65536, kMostWidth = int64_t{1} << 24;

Tensor zeros(Ctx& ctx, const Shape& shape) {
  Tensor out = ctx.empty(shape);
  if (!ctx.device.is_meta()) std::ranges::fill(out.span<float>(), 0.0f);
  return out;
}

void check_groups(const Config& text, const MoeConfig& c) {
  const ops::RoutingRule& r = c.rule;
  if (c.experts % r.groups != 0)
    fail(ErrorCode::data_loss,
         "{}: n_group {}: expected a divisor of n_routed_experts {}",
         text.path(),
         r.groups,
         c.experts);
  if (r.kept_groups > r.groups)
    fail(ErrorCode::data_loss,
         "{}: topk_group {}: expected at most n_group {}",
         text.path(),
         r.kept_groups,
         r.groups);
  const int64_t kept = c.experts / r.groups * r.kept_groups;
  if (r.top_k > kept)
    fail(ErrorCode::data_loss,
         "{}: num_experts_per_tok {}: there are {} experts in the {} groups that are kept",
         text.path(),
         r.top_k,
         kept,
         r.kept_groups);
}

double positive(const Config& text, std::string_view key) {
  const double value = text.number(key);
  if (!(value > 0 && value < 1e6))
    fail(
        ErrorCode::data_loss, "{}: {}: expected a number above 0, got {}", text.path(), key, value);
  return value;
}

}  // namespace

MoeConfig MoeConfig::noaux_tc(const Config& text, int64_t hidden) {
  MoeConfig c;
  c.hidden = hidden;
  c.intermediate = text.integer("moe_intermediate_size", 1, kMostWidth);
  c.experts = text.integer("n_routed_experts", 1, kMostExperts);
  c.shared = text.integer_or("n_shared_experts", 0, 0, 1024);
  c.has_correction_bias = true;
  c.rule.scoring = ops::Scoring::sigmoid;
  c.rule.top_k = text.integer("num_experts_per_tok", 1, c.experts);
  c.rule.groups = text.integer("n_group", 1, c.experts);
  c.rule.kept_groups = text.integer("topk_group", 1, c.experts);
  c.rule.normalizes = text.boolean("norm_topk_prob");
  c.rule.scale = static_cast<float>(positive(text, "routed_scaling_factor"));
  c.first_layer = text.integer("first_k_dense_replace", 0);
  c.layer_step = text.integer_or("moe_layer_freq", 1, 1);
  check_groups(text, c);
  return c;
}

ExpertSplit choose_expert_split(const Builder& b, const MoeConfig& c, int64_t granule) {
  const Shard& shard = b.shard();
  if (b.expert_split()) return *b.expert_split();
  int64_t most = 0;
  for (int r = 0; r < shard.size(); ++r)
    most = std::max(most, shard.range_of(r, c.intermediate, granule).size());
  // Even enough: the busiest holds at most an eighth more than its share.
  const bool is_even = 8 * most * shard.size() <= 9 * c.intermediate;
  return is_even || c.experts < shard.size() ? ExpertSplit::inside : ExpertSplit::whole;
}

Experts::Expert Experts::load(const Builder& b, const MoeConfig& c, const Cut& f) {
  return {b.columns({"gate_proj", "up_proj"}, f, c.hidden), b.addend("down_proj", c.hidden, f)};
}

Experts::Experts(const Builder& b, const MoeConfig& c) : range_{0, c.experts} {
  const Builder::Names in = {"gate_proj", "up_proj"}, out = {"down_proj"};
  const int64_t granule = (b / int64_t{0}).cut_granule(c.intermediate, in, out);
  const bool is_whole = choose_expert_split(b, c, granule) == ExpertSplit::whole;
  if (is_whole) range_ = b.shard().range(c.experts);
  // Each is cut for itself: groups that are scattered over units are so in each its own way.
  const auto cut = [&](const Builder& e) {
    return is_whole ? Cut::whole(c.intermediate) : e.cut(c.intermediate, in, out);
  };
  // Of all experts a token reads k.
  const double share = static_cast<double>(c.rule.top_k) / static_cast<double>(c.experts);
  const bool is_meta = b.ctx().device.is_meta();
  const int64_t end = is_meta ? std::min(range_.end, range_.begin + 1) : range_.end;
  const Builder each = b.standing_for({.copies = is_meta ? range_.size() : 1, .read_share = share});
  std::map<std::string, size_t> kinds;
  for (int64_t e = range_.begin; e < end; ++e) {
    const Expert& made = experts_.emplace_back(load(each / e, c, cut(each / e)));
    if (made.gate_up.weight() == nullptr) continue;
    const std::string kind = made.gate_up.weight()->kernel() + " " + made.down.weight()->kernel();
    if (kinds.emplace(kind, experts_.size() - 1).second) kinds_.push_back(experts_.size() - 1);
  }
}

Tensor Experts::run(Ctx& ctx, const Expert& e, const Tensor& x) const {
  return e.down(ctx, ops::silu_mul(ctx, e.gate_up(ctx, x)));
}

// A plan cannot know what tokens choose. So every step takes, and gives back, what an expert would
// take that all of them choose: no choice needs more.
void Experts::reserve(Ctx& ctx, const Tensor& x) const {
  Ctx shapes = ctx;
  shapes.device = Device::meta();
  for (const size_t kind : kinds_) run(shapes, experts_[kind], shapes.empty(x.shape()));
}

void Experts::add_to(Ctx& ctx, Tensor& y, const Tensor& x, const ops::Routing& routing) const {
  reserve(ctx, x);
  if (ctx.device.is_meta() || kinds_.empty()) return;
  const auto all = ops::rows_by_expert(routing, range_.begin, range_.size());
  for (size_t e = 0; e < all.size(); ++e) {
    if (all[e].tokens.empty()) continue;
    const Tensor own = run(ctx, experts_[e], ops::gather_rows(ctx, x, all[e].tokens));
    ops::add_weighted_rows_(ctx, y, own, all[e]);
  }
}

Moe::Moe(const Builder& b, const MoeConfig& c, int64_t layer)
    : rule_(c.rule),
      layer_(layer),
      shard_(b.shard()),
      gate_(b.exact("gate", c.experts, c.hidden)),
      experts_(b / "experts", c) {
  if (c.has_correction_bias) bias_ = b.vector("gate.e_score_correction_bias", c.experts);
  if (c.shared == 0) return;
  const Builder shared = b / "shared_experts";
  const Cut f = shared.cut(c.shared * c.intermediate, {"gate_proj", "up_proj"}, {"down_proj"});
  shared_gate_up_ = shared.columns({"gate_proj", "up_proj"}, f, c.hidden);
  shared_down_ = shared.addend("down_proj", c.hidden, f);
}

// In float32 whatever the activations: a rounded input would choose other experts.
ops::Routing Moe::route(Ctx& ctx, const Tensor& x) const {
  Ctx exact = ctx;
  exact.activation = Activation::f32;
  return ops::route(exact, gate_(exact, x), bias_, rule_);
}

Tensor Moe::shared_part(Ctx& ctx, const Tensor& x) const {
  if (!shared_down_) return zeros(ctx, x.shape());
  return (*shared_down_)(ctx, ops::silu_mul(ctx, (*shared_gate_up_)(ctx, x)));
}

Tensor Moe::operator()(Ctx& ctx, const Tensor& x, const Step& s) const {
  const ops::Routing routing = route(ctx, x);
  if (s.probe != nullptr && !ctx.device.is_meta()) {
    const Shape shape{x.dim(0), rule_.top_k};
    const std::vector<float> ids(routing.experts.begin(), routing.experts.end());
    s.probe->record("router_ids", static_cast<int>(layer_), Tensor::from(ids, shape));
    s.probe->record(
        "router_weights", static_cast<int>(layer_), Tensor::from(routing.weights, shape));
  }
  Tensor y = zeros(ctx, x.shape());
  experts_.add_to(ctx, y, x, routing);
  const Tensor shared = shared_part(ctx, x);
  ops::add_(ctx, y, shared);
  all_reduce_(ctx, y, shard_);
  return y;
}

}  // namespace quern

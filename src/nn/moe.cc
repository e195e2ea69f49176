// SPDX-License-Identifier: Apache-2.0
#include "nn/moe.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "nn/model.h"
#include "nn/owned_ctx.h"
#include "nn/ranks.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

constexpr int64_t kMostExperts = 65536, kMostWidth = int64_t{1} << 24;
constexpr size_t kReadAhead = 8;  // experts that the file is asked for before they are needed

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

// Each is cut for itself: groups that are scattered over units are so in each its own way.
Expert Experts::load(const Builder& b, int64_t e) const {
  const Builder at = b / e;
  const int64_t d = config_.hidden, inner = config_.intermediate;
  const Cut f =
      is_whole_ ? Cut::whole(inner) : at.cut(inner, {"gate_proj", "up_proj"}, {"down_proj"});
  return {at.columns({"gate_proj", "up_proj"}, f, d), at.addend("down_proj", d, f)};
}

Experts::Experts(const Builder& b, const MoeConfig& c)
    : source_(b), config_(c), range_{0, c.experts}, memory_(b.expert_memory()) {
  const int64_t granule =
      (b / int64_t{0}).cut_granule(c.intermediate, {"gate_proj", "up_proj"}, {"down_proj"});
  is_whole_ = choose_expert_split(b, c, granule) == ExpertSplit::whole;
  if (is_whole_) range_ = b.shard().range(c.experts);
  // Of all experts a token reads k.
  const double share = static_cast<double>(c.rule.top_k) / static_cast<double>(c.experts);
  source_ = b.standing_for({.copies = 1, .read_share = share, .is_paged = memory_ != nullptr});
  if (range_.is_empty()) return;
  if (b.ctx().device.is_meta())
    hold_one_for_all();
  else if (memory_)
    leave_in_file();
  else
    hold_all();
}

void Experts::note_form(const Expert& e, std::map<std::string, size_t>& seen) {
  if (e.gate_up.weight() == nullptr) return;
  const std::string kernels = e.gate_up.weight()->kernel() + " " + e.down.weight()->kernel();
  if (seen.emplace(kernels, forms_.size()).second) forms_.push_back(e);
}

void Experts::hold_all() {
  std::map<std::string, size_t> seen;
  for (int64_t e = range_.begin; e < range_.end; ++e) {
    held_.push_back(std::make_shared<const Expert>(load(source_, e)));
    note_form(*held_.back(), seen);
  }
}

void Experts::hold_one_for_all() {
  std::map<std::string, size_t> seen;
  Stands all = source_.stands();
  all.copies = range_.size();
  note_form(load(source_.standing_for(all), range_.begin), seen);
}

// Shapes are checked now, so that a start says what is wrong with the file. One expert is packed:
// of all layers together they tell how long it takes.
void Experts::leave_in_file() {
  OwnedCtx meta = OwnedCtx::meta(source_.ctx().isa, source_.ctx().activation);
  const Builder shapes = source_.on(meta.ctx());
  std::map<std::string, size_t> seen;
  for (int64_t e = range_.begin; e < range_.end; ++e) {
    const Expert shape = load(shapes, e);
    note_form(shape, seen);
    most_bytes_ = std::max(most_bytes_, shape.bytes());
  }
  layer_ = memory_->next_layer();
  Ctx ctx = source_.ctx();
  take(ctx, range_.begin);
}

// Counted already.
std::shared_ptr<const Expert> Experts::take(Ctx& ctx, int64_t e) const {
  Stands nothing = source_.stands();
  nothing.copies = 0;
  return memory_->take(
      {layer_, e}, most_bytes_, [&] { return load(source_.on(ctx).standing_for(nothing), e); });
}

void Experts::read_ahead(int64_t e) const {
  if (!memory_->holds({layer_, e})) (source_ / e).read_ahead({"gate_proj", "up_proj", "down_proj"});
}

Tensor Experts::run(Ctx& ctx, const Expert& e, const Tensor& x) const {
  return e.down(ctx, e.gate_up.silu_mul(ctx, x));
}

// A plan cannot know what tokens choose. So every step takes, and gives back, what an expert would
// take that all of them choose: no choice needs more.
void Experts::reserve(Ctx& ctx, const Tensor& x) const {
  Ctx shapes = ctx;
  shapes.device = Device::meta();
  for (const Expert& form : forms_) run(shapes, form, shapes.empty(x.shape()));
}

void Experts::add_to(Ctx& ctx, Tensor& y, const Tensor& x, const ops::Routing& routing) const {
  reserve(ctx, x);
  if (ctx.device.is_meta() || forms_.empty()) return;
  const auto all = ops::rows_by_expert(routing, range_.begin, range_.size());
  std::vector<size_t> chosen;
  for (size_t e = 0; e < all.size(); ++e)
    if (!all[e].tokens.empty()) chosen.push_back(e);
  size_t ahead = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    for (; memory_ && ahead < std::min(i + kReadAhead, chosen.size()); ++ahead)
      read_ahead(range_.begin + static_cast<int64_t>(chosen[ahead]));
    const size_t e = chosen[i];
    const auto expert = memory_ ? take(ctx, range_.begin + static_cast<int64_t>(e)) : held_[e];
    const Tensor own = run(ctx, *expert, ops::gather_rows(ctx, x, all[e].tokens));
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
  return (*shared_down_)(ctx, shared_gate_up_->silu_mul(ctx, x));
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

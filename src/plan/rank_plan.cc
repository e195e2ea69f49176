// SPDX-License-Identifier: Apache-2.0
#include "plan/rank_plan.h"

#include <limits>

#include "comm/communicator.h"
#include "engine/memory_plan.h"
#include "models/registry.h"
#include "nn/sequence_runner.h"

namespace quern {
namespace {

// Moves nothing and counts what would move.
class Counter final : public Communicator {
 public:
  explicit Counter(const Shard& shard) : shard_(shard) {}
  int rank() const override { return shard_.rank(); }
  int size() const override { return shard_.size(); }
  void all_reduce_sum(std::span<float> values) override { count(values.size()); }
  void all_reduce_max(std::span<float> values) override { count(values.size()); }
  void gather(std::span<const float> own, std::span<const int64_t>, std::span<float>) override {
    count(own.size());
  }
  void send(int, std::span<const float> values) override { count(values.size()); }
  void receive(int, std::span<float>) override {}
  void barrier() override {}

  int64_t meetings = 0, floats = 0;

 private:
  void count(size_t values) {
    ++meetings;
    floats += static_cast<int64_t>(values);
  }
  Shard shard_;
};

enum class Kind : uint8_t { head, attention, mlp, experts, tower };

Kind kind_of(std::string_view path) {
  const auto has = [&](std::string_view part) { return path.find(part) != std::string_view::npos; };
  for (const std::string_view tower :
       {"visual", "vision", "audio_", "model.encoder.", "multi_modal_projector"})
    if (has(tower)) return Kind::tower;
  if (has("self_attn") || has("encoder_attn")) return Kind::attention;
  if (has(".experts.")) return Kind::experts;
  if (has("layers.")) return Kind::mlp;
  return Kind::head;
}

// The layer that says how inner units are dealt out: experts that all tokens share have fewer.
bool is_dense_down(std::string_view path) {
  const bool is_down = path.ends_with("down_proj") || path.ends_with(".fc2");
  return is_down && path.find("shared_experts") == std::string_view::npos;
}

bool is_last_part(std::string_view path, std::string_view name) {
  return path.ends_with(name) &&
         (path.size() == name.size() || path[path.size() - name.size() - 1] == '.');
}

// Its columns are those of the query heads.
bool is_attention_output(std::string_view path) {
  return is_last_part(path, "o_proj") || is_last_part(path, "self_attn.out_proj");
}

void add_weight(const LoadedWeight& w, int64_t head_size, RankPlan& out) {
  RankBytes& bytes = out.bytes;
  const Kind kind = kind_of(w.path);
  // Of experts a token meets few.
  const double share = w.stands.read_share;
  const auto products =
      static_cast<int64_t>(share * static_cast<double>(w.stands.copies * w.held[0] * w.held[1]));
  switch (kind) {
    case Kind::tower:
      bytes.tower += w.bytes;
      if (is_last_part(w.path, "fc1") || is_last_part(w.path, "gate_proj"))
        out.tower_ffn = is_last_part(w.path, "fc1") ? w.held[0] : w.held[0] / 2;
      return;  // not for each token
    case Kind::head:
      bytes.head += w.bytes;
      break;
    case Kind::attention:
      bytes.attention += w.bytes;
      out.layer_products += products;
      if (is_attention_output(w.path)) out.heads = w.held[1] / head_size;
      break;
    case Kind::experts:
      bytes.experts += w.bytes;
      out.layer_products += products;
      if (is_last_part(w.path, "down_proj")) {
        out.experts = w.stands.copies;
        out.expert_ffn = w.held[1];
      }
      break;
    case Kind::mlp:
      bytes.mlp += w.bytes;
      out.layer_products += products;
      if (is_dense_down(w.path)) {
        out.ffn = w.held[1];
        out.ffn_granule = w.granule.block_cols();
      }
      break;
  }
  const auto read = static_cast<int64_t>(share * static_cast<double>(w.bytes));
  out.read_bytes += read;
  if (kind == Kind::experts) out.expert_read_bytes += read;
}

KvSpec spec_of(const Model& model, const PlanSubjects& subjects) {
  KvSpec spec = model.kv_spec();
  spec.dtype = subjects.kv_dtype;
  return spec;
}

// The scratch of the widest step and of the largest picture, which only the first stage sees.
void add_scratch(const PlanSubjects& subjects, const Model& model, const Ctx& ctx, RankPlan& out) {
  const KvSpec spec = spec_of(model, subjects);
  EngineConfig config = subjects.config;
  config.num_blocks = 1;
  const bool sees_pictures = subjects.largest && model.info().has_vision && out.stage == 0;
  const MemoryPlan plan =
      plan_memory({model, ctx, spec, sees_pictures ? &*subjects.largest : nullptr},
                  config,
                  std::numeric_limits<int64_t>::max() / 2);
  out.bytes.scratch = plan.arena_bytes;
  out.bytes.media = plan.media_bytes;
  out.bytes.logits = plan.logits_bytes;
  out.bytes.kv_per_token = spec.bytes_per_token();
}

// One token through the model, met by counters.
void count_meetings(const Model& model, Ctx ctx, const Shard& shard, RankPlan& out) {
  Counter ranks(shard);
  ctx.ranks = shard.size() > 1 ? &ranks : nullptr;
  const int32_t id = 0, row = 0;
  SequenceRunner(model, ctx, 1)
      .prefill({.ids = {&id, 1}, .positions = {}, .axes = 1, .media = {}}, {&row, 1});
  out.meetings = ranks.meetings;
  out.met_floats = ranks.floats;
}

}  // namespace

RankPlan plan_rank(const PlanSubjects& subjects, const Degrees& degrees, int world_rank) {
  RankPlan out;
  out.rank = world_rank % degrees.tensor;
  out.stage = world_rank / degrees.tensor;
  const Shard shard(out.rank, degrees.tensor, degrees.proportions);
  BuilderOptions building = subjects.building;
  building.stage = Shard(out.stage, degrees.stages);
  OwnedCtx meta = OwnedCtx::meta(subjects.isa, subjects.activation);
  const Builder builder(subjects.checkpoint, meta.ctx(), shard, building);
  const std::unique_ptr<Model> model = make_model(builder);
  const KvGroup kv = model->kv_spec().groups.front();
  for (const LoadedWeight& w : builder.loaded()) add_weight(w, model->info().head_size, out);
  for (const LoadedWeight& w : builder.tables()) {
    out.bytes.table += w.bytes;
    if (is_last_part(w.path, "embed_tokens")) out.vocab = w.held[0];
  }
  RankBytes& bytes = out.bytes;
  bytes.vectors = builder.loaded_bytes() - bytes.weights();
  out.layers = kv.layers;
  out.kv_heads = kv.kv_heads;
  add_scratch(subjects, *model, meta.ctx(), out);
  count_meetings(*model, meta.ctx(), shard, out);
  return out;
}

ModelAxes axes_of(const PlanSubjects& subjects) {
  OwnedCtx meta = OwnedCtx::meta(subjects.isa, subjects.activation);
  const Builder builder(subjects.checkpoint, meta.ctx(), Shard(), subjects.building);
  const std::unique_ptr<Model> model = make_model(builder);
  const ModelInfo& info = model->info();
  const KvGroup kv = model->kv_spec().groups.front();
  ModelAxes out{.architecture = info.architecture,
                .layers = info.layers,
                .hidden = info.hidden_size,
                .kv_heads = kv.kv_heads,
                .head_size = info.head_size,
                .vocab = info.vocab_size,
                .max_positions = info.max_positions,
                .has_vision = info.has_vision};
  for (const LoadedWeight& w : builder.loaded()) {
    if (kind_of(w.path) == Kind::attention && is_attention_output(w.path))
      out.heads = w.whole[1] / info.head_size;
    if (kind_of(w.path) == Kind::experts && is_last_part(w.path, "down_proj")) {
      out.experts = w.stands.copies;
      out.expert_ffn = w.whole[1];
    }
    if (kind_of(w.path) == Kind::mlp && is_dense_down(w.path)) {
      out.ffn = w.whole[1];
      out.group = w.granule.block_cols() > 1 ? w.granule.block_cols() : 0;
    }
  }
  return out;
}

}  // namespace quern

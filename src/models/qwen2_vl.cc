// SPDX-License-Identifier: Apache-2.0
// Qwen2-VL. Wang et al. 2024, "Qwen2-VL: Enhancing Vision-Language Model's Perception of the World
// at Any Resolution". Reference: transformers 5.23, models/qwen2_vl.
//
// A picture of any size is cut into patches of 14 x 14 pixels over two frames. The tower sees them
// all with a rotary embedding of row and column; every 2 x 2 patches then become one token of
// Qwen2's decoder, whose rotary embedding has three axes: time, row, column.
#include "base/error.h"
#include "models/families.h"
#include "nn/decoder_model.h"
#include "nn/tower_block.h"
#include "nn/vision_grid.h"
#include "nn/vision_input.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

constexpr double kNormEps = 1e-6, kTowerTheta = 10000;  // of the tower; in no config
// <|image_pad|>, <|video_pad|>
constexpr DecoderModel::MediaTokens kPlaceholders{.image = 151655, .video = 151656};
const RopeDefaults kRopeDefaults{.theta = 1e6, .sections = {16, 24, 24}};

struct VisionConfig {
  int64_t depth = 0, width = 0, heads = 0, inner = 0;
  int64_t patch_values = 0;  // channels x frames x rows x columns of one patch
  int64_t merge = 0;         // a token stands for merge x merge patches
  int64_t out = 0;  // the decoder's width; the file's `hidden_size` is wrong in some repositories
  InPlaceOp act = nullptr;

  // Several published repositories carry next to none of these keys: all have the value of the
  // paper as default.
  static VisionConfig from(const Config& vision, int64_t decoder_width) {
    VisionConfig c;
    c.depth = vision.integer_or("depth", 32, 1, 1000);
    c.width = vision.integer_or("embed_dim", 1280, 1, 1 << 20);
    c.heads = vision.integer_or("num_heads", 16, 1, 4096);
    c.inner = c.width * vision.integer_or("mlp_ratio", 4, 1, 64);
    c.merge = vision.integer_or("spatial_merge_size", 2, 1, 64);
    const int64_t channels =
        vision.integer_or("in_chans", vision.integer_or("in_channels", 3, 1, 64), 1, 64);
    const int64_t side = vision.integer_or("patch_size", 14, 1, 1024);
    c.patch_values = channels * vision.integer_or("temporal_patch_size", 2, 1, 64) * side * side;
    c.out = decoder_width;
    c.act = activation_op(vision.string_or("hidden_act", "quick_gelu"), vision.path());
    check_rotated_heads(vision, c.heads, c.width);
    return c;
  }
};

// h += attention(layer_norm(h));  h += mlp(layer_norm(h))
struct VisionBlock : TowerBlock<LayerNorm, PlainMlp> {
  VisionBlock(const Builder& b, const VisionConfig& c)
      : TowerBlock{LayerNorm(b / "norm1", c.width, kNormEps),
                   LayerNorm(b / "norm2", c.width, kNormEps),
                   VisionAttention(b / "attn", c.width, c.heads),
                   PlainMlp(b / "mlp", "fc1", "fc2", {c.width, c.inner, c.width}, c.act)} {}
};

class Tower final : public VisionTower {
 public:
  Tower(const Builder& b, const VisionConfig& c)
      : config_(c),
        rope_(Rope::rows_and_columns(c.width / c.heads, kTowerTheta)),
        patch_embed_(b.whole({"patch_embed.proj"}, c.width, c.patch_values)),
        norm_(b / "merger.ln_q", c.width, kNormEps),
        merger_(b / "merger", "mlp.0", "mlp.2", {cell_width(), cell_width(), c.out}, ops::gelu_) {
    for (int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(b / "blocks" / i, c);
  }

  // P patches -> [P / merge², out]
  Tensor operator()(Ctx& ctx, const MediaInput& media, Probe* probe) const override {
    const PatchGrid grid = grid_of(media, config_.merge, config_.patch_values);
    const RopeTables rope = rope_.tables(ctx, patch_positions(grid), 2);
    // Patches see their own frame: neither other frames nor other pictures.
    const std::vector<int32_t> segments = frame_segments(grid);
    Tensor h = patch_embed_(ctx, patch_values(ctx, media));
    for (const VisionBlock& block : blocks_) block(ctx, h, rope, segments);
    if (probe) probe->record("image_encoder_last_hidden", 0, h);
    Tensor tokens = merger_(ctx, norm_(ctx, h).reshape({grid.cells(), cell_width()}));
    if (probe) probe->record("image_embeds", 0, tokens);
    return tokens;
  }

 private:
  int64_t cell_width() const { return config_.width * config_.merge * config_.merge; }

  VisionConfig config_;
  Rope rope_;
  Linear patch_embed_;
  std::vector<VisionBlock> blocks_;
  LayerNorm norm_;
  PlainMlp merger_;
};

DecoderConfig text_config(const Config& root) {
  DecoderConfig c = DecoderConfig::from(root, 1e-5);
  c.attention.qkv_bias = Bias::present;
  return c;
}

Rope text_rope(const Builder& b, const DecoderConfig& c) {
  return Rope::from(
      b, b.config().sub_or_self("text_config"), c.attention.sizes.head_size, kRopeDefaults);
}

std::unique_ptr<VisionTower> make_tower(const Builder& b, const DecoderConfig& c) {
  if (b.stage().rank() != 0) return nullptr;
  return std::make_unique<Tower>(b / "visual",
                                 VisionConfig::from(b.config().sub("vision_config"), c.hidden));
}

}  // namespace

std::unique_ptr<Model> make_qwen2_vl(const Builder& b) {
  const DecoderConfig c = text_config(b.config());
  auto model = std::make_unique<DecoderModel>(
      b, DecoderModel::Family{"Qwen2VLForConditionalGeneration", "qwen2_vl"}, c, text_rope(b, c));
  model->take_pictures(
      b, make_tower(b, c), DecoderModel::MediaTokens::from(b.config(), c.vocab, kPlaceholders));
  return model;
}

}  // namespace quern

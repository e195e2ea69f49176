// SPDX-License-Identifier: Apache-2.0
// Source: GLM-V Team 2025, "GLM-4.5V and GLM-4.1V-Thinking" (arXiv 2507.01006), section 2.
// Reference: transformers 5.23, models/glm4v, Glm4vVisionModel.
//
//   h = rms_norm(patches W + b) + positions, which are learned on a square and read between its
//   rows per block:  h += Wo attention(rope(Wqkv rms_norm(h)));  h += gated_mlp(rms_norm(h)) token
//   = one 2 x 2 convolution over rms_norm(h) out = gated_mlp(gelu(layer_norm(token W)))
#include "models/glm4v_tower.h"

#include "base/error.h"
#include "nn/position_grid.h"
#include "nn/tower_block.h"
#include "nn/vision_grid.h"
#include "nn/vision_input.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

constexpr double kMergerNormEps = 1e-5, kTowerTheta = 10000;

struct VisionConfig {
  int64_t depth = 0, width = 0, heads = 0;
  int64_t patch_values = 0;  // channels x frames x rows x columns of one patch
  int64_t merge = 0;         // a token stands for merge x merge patches
  int64_t positions = 0;     // side of the square of learned positions
  int64_t merger = 0;        // inner width of the merger: what the file calls intermediate_size
  int64_t out = 0;           // the decoder's width, and the inner width of the blocks' MLPs
  double eps = 0, theta = 0;
  Bias qkv_bias = Bias::none;

  static VisionConfig from(const Config& vision, int64_t decoder_width);
};

VisionConfig VisionConfig::from(const Config& vision, int64_t decoder_width) {
  require_silu(vision.string_or("hidden_act", "silu"), vision.path());
  VisionConfig c;
  c.depth = vision.integer_or("depth", 24, 1, 1000);
  c.width = vision.integer_or("hidden_size", 1536, 1, 1 << 20);
  c.heads = vision.integer_or("num_heads", 12, 1, 4096);
  c.merge = vision.integer_or("spatial_merge_size", 2, 1, 64);
  c.merger = vision.integer_or("intermediate_size", 13696, 1, 1 << 24);
  c.out = vision.integer_or("out_hidden_size", 4096, 1, 1 << 24);
  c.eps = norm_eps_in(vision, "rms_norm_eps", 1e-5);
  c.theta = rope_theta(vision, vision.find("rope_parameters"), kTowerTheta);
  c.qkv_bias = vision.boolean_or("attention_bias", false) ? Bias::present : Bias::none;
  const int64_t side = vision.integer_or("patch_size", 14, 1, 1024);
  c.patch_values = vision.integer_or("in_channels", 3, 1, 64) *
                   vision.integer_or("temporal_patch_size", 2, 1, 64) * side * side;
  c.positions = vision.integer_or("image_size", 336, side, 1 << 16) / side;
  check_rotated_heads(vision, c.heads, c.width);
  if (c.out != decoder_width)
    fail(ErrorCode::data_loss,
         "{}: out_hidden_size {}: the text model's hidden_size is {}",
         vision.path(),
         c.out,
         decoder_width);
  return c;
}

struct VisionBlock : TowerBlock<RmsNorm, GatedMlp> {
  VisionBlock(const Builder& b, const VisionConfig& c)
      : TowerBlock{RmsNorm(b / "norm1", c.width, c.eps),
                   RmsNorm(b / "norm2", c.width, c.eps),
                   VisionAttention(b / "attn",
                                   {.hidden = c.width,
                                    .heads = c.heads,
                                    .qkv_bias = c.qkv_bias,
                                    .out_bias = Bias::none}),
                   GatedMlp(b / "mlp", c.width, c.out)} {}
};

// [cells, out] -> [cells, out], without a residual.
struct Merger {
  Merger(const Builder& b, const VisionConfig& c)
      : proj(b.whole({"proj"}, c.out, c.out)),
        norm(b / "post_projection_norm", c.out, kMergerNormEps),
        mlp(b, c.out, c.merger) {}

  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    Tensor y = norm(ctx, proj(ctx, x));
    ops::gelu_(ctx, y);
    return mlp(ctx, y);
  }

  Linear proj;
  LayerNorm norm;
  GatedMlp mlp;
};

class Tower final : public VisionTower {
 public:
  Tower(const Builder& b, const VisionConfig& c)
      : config_(c),
        rope_(Rope::rows_and_columns(c.width / c.heads, c.theta)),
        patch_embed_(b.whole({"patch_embed.proj"}, c.width, c.patch_values, Bias::present)),
        embed_norm_(b / "post_conv_layernorm", c.width, c.eps),
        positions_(
            b,
            "embeddings.position_embedding",
            {.side = c.positions, .width = c.width, .filter = PositionGridConfig::Filter::bicubic}),
        last_norm_(b / "post_layernorm", c.width, c.eps),
        downsample_(b.whole({"downsample"}, c.out, cell_width(), Bias::present)),
        merger_(b / "merger", c) {
    downsample_.gather_inputs(conv_inputs(c.width, c.merge));
    for (int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(b / "blocks" / i, c);
  }

  // P patches -> [P / merge², out]
  Tensor operator()(Ctx& ctx, const MediaInput& media, Probe* probe) const override {
    const PatchGrid grid = grid_of(media, config_.merge, config_.patch_values);
    const std::vector<int32_t> places = patch_positions(grid);
    const RopeTables rope = rope_.tables(ctx, places, 2);
    // Patches see their own frame: neither other frames nor other pictures.
    const std::vector<int32_t> segments = frame_segments(grid);
    Tensor h = embed_norm_(ctx, patch_embed_(ctx, patch_values(ctx, media)));
    ops::add_(ctx, h, positions_(ctx, grid.h, grid.w, places));
    for (const VisionBlock& block : blocks_) block(ctx, h, rope, segments);
    const Tensor cells = downsample_(ctx, last_norm_(ctx, h).reshape({grid.cells(), cell_width()}));
    if (probe) probe->record("image_encoder_last_hidden", 0, cells);
    Tensor tokens = merger_(ctx, cells);
    if (probe) probe->record("image_embeds", 0, tokens);
    return tokens;
  }

 private:
  int64_t cell_width() const { return config_.width * config_.merge * config_.merge; }

  VisionConfig config_;
  Rope rope_;
  Linear patch_embed_;
  RmsNorm embed_norm_;
  PositionGrid positions_;
  std::vector<VisionBlock> blocks_;
  RmsNorm last_norm_;
  Linear downsample_;
  Merger merger_;
};

}  // namespace

std::unique_ptr<VisionTower> make_glm4v_tower(const Builder& b, int64_t decoder_width) {
  if (b.stage().rank() != 0) return nullptr;
  return std::make_unique<Tower>(
      b / "visual", VisionConfig::from(b.config().sub("vision_config"), decoder_width));
}

DecoderModel::MediaTokens glm4v_media_tokens(const Config& root, int64_t vocab, int32_t published) {
  const auto image =
      static_cast<int32_t>(root.integer_or("image_token_id", published, 0, vocab - 1));
  return {.image = image, .video = image};
}

}  // namespace quern

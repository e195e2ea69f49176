// SPDX-License-Identifier: Apache-2.0
// Qwen2.5-VL. Bai et al. 2025, "Qwen2.5-VL Technical Report". Reference: transformers 5.23,
// models/qwen2_5_vl.
//
// Qwen2-VL (see qwen2_vl.cc) with another tower: RMSNorm and gated MLPs, and most blocks look at
// windows of a few patches only. For these the tokens are put in order window by window before the
// first block, and back after the merger. Positions in seconds of video are made by the prompt, not
// here.
#include <algorithm>

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
  int64_t patch_values = 0;          // channels x frames x rows x columns of one patch
  int64_t merge = 0;                 // a token stands for merge x merge patches
  int64_t window = 0;                // side of a window, counted in tokens
  int64_t out = 0;                   // the decoder's width
  std::vector<int64_t> full_blocks;  // blocks that see whole frames

  // Some published files leave keys out: all have the value of the paper as default.
  static VisionConfig from(const Config& vision, int64_t decoder_width) {
    require_silu(vision.string_or("hidden_act", "silu"), vision.path());
    VisionConfig c;
    c.depth = vision.integer_or("depth", 32, 1, 1000);
    c.width = vision.integer_or("hidden_size", 1280, 1, 1 << 20);
    c.heads = vision.integer_or("num_heads", 16, 1, 4096);
    c.inner = vision.integer_or("intermediate_size", 3420, 1, 1 << 20);
    c.merge = vision.integer_or("spatial_merge_size", 2, 1, 64);
    const int64_t channels =
        vision.integer_or("in_chans", vision.integer_or("in_channels", 3, 1, 64), 1, 64);
    const int64_t side = vision.integer_or("patch_size", 14, 1, 1024);
    c.patch_values = channels * vision.integer_or("temporal_patch_size", 2, 1, 64) * side * side;
    c.window = vision.integer_or("window_size", 112, 1, 1 << 20) / c.merge / side;
    c.out = decoder_width;
    c.full_blocks = {7, 15, 23, 31};
    if (vision.has("fullatt_block_indexes"))
      c.full_blocks = vision.integers("fullatt_block_indexes");
    if (c.window < 1)
      fail(ErrorCode::data_loss,
           "{}: window_size: expected at least {}",
           vision.path(),
           c.merge * side);
    check_rotated_heads(vision, c.heads, c.width);
    return c;
  }
};

// h += attention(rms_norm(h));  h += mlp(rms_norm(h))
struct VisionBlock : TowerBlock<RmsNorm, GatedMlp> {
  VisionBlock(const Builder& b, const VisionConfig& c)
      : TowerBlock{RmsNorm(b / "norm1", c.width, kNormEps),
                   RmsNorm(b / "norm2", c.width, kNormEps),
                   VisionAttention(b / "attn", c.width, c.heads),
                   GatedMlp(b / "mlp", c.width, c.inner, Bias::present)} {}
};

// [2, P] in raster order of tokens -> the same in the order of `patches`.
std::vector<int32_t> in_order(const std::vector<int32_t>& positions,
                              const std::vector<int32_t>& patches) {
  std::vector<int32_t> out;
  for (size_t axis = 0; axis < 2; ++axis)
    for (const int32_t p : patches)
      out.push_back(positions[axis * patches.size() + static_cast<size_t>(p)]);
  return out;
}

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
    const WindowOrder windows = window_order(grid, config_.window);
    const std::vector<int32_t> frames = frame_segments(grid);
    const RopeTables rope = rope_.tables(
        ctx, in_order(patch_positions(grid), patches_of_cells(windows.cells, grid)), 2);
    Tensor h = by_windows(ctx, patch_embed_(ctx, patch_values(ctx, media)), windows);
    for (size_t i = 0; i < blocks_.size(); ++i)
      blocks_[i](ctx, h, rope, sees_frames(i) ? frames : windows.segments);
    // In window order still, as the reference gives it.
    if (probe) probe->record("image_encoder_last_hidden", 0, h);
    const Tensor merged = merger_(ctx, norm_(ctx, h).reshape({grid.cells(), cell_width()}));
    Tensor tokens = ops::gather_rows(ctx, merged, windows.inverse);
    if (probe) probe->record("image_embeds", 0, tokens);
    return tokens;
  }

 private:
  int64_t cell_width() const { return config_.width * config_.merge * config_.merge; }
  bool sees_frames(size_t block) const {
    return std::ranges::find(config_.full_blocks, static_cast<int64_t>(block)) !=
           config_.full_blocks.end();
  }
  Tensor by_windows(Ctx& ctx, const Tensor& patches, const WindowOrder& windows) const {
    const Tensor cells =
        patches.reshape({static_cast<int64_t>(windows.cells.size()), cell_width()});
    return ops::gather_rows(ctx, cells, windows.cells).reshape(patches.shape());
  }

  VisionConfig config_;
  Rope rope_;
  Linear patch_embed_;
  std::vector<VisionBlock> blocks_;
  RmsNorm norm_;
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

std::unique_ptr<Model> make_qwen2_5_vl(const Builder& b) {
  const DecoderConfig c = text_config(b.config());
  auto model = std::make_unique<DecoderModel>(
      b,
      DecoderModel::Family{"Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"},
      c,
      text_rope(b, c));
  model->take_pictures(
      b, make_tower(b, c), DecoderModel::MediaTokens::from(b.config(), c.vocab, kPlaceholders));
  return model;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// HunyuanOCR. Hunyuan Vision Team 2025, "HunyuanOCR Technical Report" (arXiv 2511.19575).
// Reference: transformers 5.23, models/hunyuan_vl, and the authors' own file for what the two do
// differently (docs/models/hunyuan-ocr.md).
//
// A plain ViT without rotary positions sees a picture in patches of 16 x 16; a convolution makes
// cells of 2 x 2 of them, and every row of cells ends with a learned "newline" cell. The decoder is
// Llama's, but that queries and keys are normed head by head behind the rotation, which has four
// axes: sequence, column, row, number of the picture.
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "models/families.h"
#include "nn/decoder_model.h"
#include "nn/position_grid.h"
#include "nn/vision_attention.h"
#include "nn/vision_grid.h"
#include "nn/vision_input.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

constexpr int32_t kImageToken = 120120;
constexpr const char* kArchitecture = "HunYuanVLForConditionalGeneration";

// Two generations of names.
struct TowerNames {
  std::string_view tower, attn_norm, mlp_norm, fc1, fc2, merger, conv, conv_out;
};
constexpr TowerNames kPublished{"vit",
                                "input_layernorm",
                                "post_attention_layernorm",
                                "mlp.dense_h_to_4h",
                                "mlp.dense_4h_to_h",
                                "perceive",
                                "proj.0",
                                "proj.2"};
constexpr TowerNames kNewer{"model.vision_tower",
                            "layer_norm1",
                            "layer_norm2",
                            "mlp.fc1",
                            "mlp.fc2",
                            "patch_merger",
                            "proj_conv",
                            "proj_out"};

TowerNames names_in(const Builder& b) {
  TowerNames nested = kPublished;
  nested.tower = "vit.vit";
  for (const TowerNames& names : {kNewer, nested})
    if ((b / names.tower).has("embeddings.patch_embedding.weight")) return names;
  return kPublished;
}

struct VisionConfig {
  int64_t depth = 0, width = 0, heads = 0, inner = 0;
  int64_t patch_values = 0;  // channels x rows x columns of one patch
  int64_t merge = 0;         // a cell is merge x merge patches
  int64_t positions = 0;     // side of the square of learned positions
  int64_t out = 0;           // the decoder's width
  double eps = 0;
  double overhang = 0;  // see PositionGridConfig
  InPlaceOp act = nullptr;

  static VisionConfig from(const Builder& b, int64_t decoder_width);
};

// A key that must say what this file takes for granted, where it is there.
void require_integer(const Config& config, std::string_view key, int64_t expected) {
  const int64_t value = config.integer_or(key, expected, INT64_MIN / 2, INT64_MAX / 2);
  if (value != expected)
    fail(ErrorCode::unsupported, "{}: {} {}: expected {}", config.path(), key, value, expected);
}
void require_boolean(const Config& config, std::string_view key, bool expected) {
  if (config.boolean_or(key, expected) != expected)
    fail(ErrorCode::unsupported, "{}: {}: expected {}", config.path(), key, expected);
}

// The rotary settings of the decoder, in either spelling.
Config rope_of(const Config& root) {
  const Config text = root.sub_or_self("text_config");
  if (const auto rope = rope_settings(text)) return *rope;
  return text.sub("rope_scaling");  // throws, naming it
}

// Where the authors' own file and transformers differ, a checkpoint is run as those ran it who made
// it: transformers, once it has saved one, spells xdrope_section another way.
struct Lineage {
  std::string layout;  // of rotary sections over pictures: "A" (pairs) or "B" (elements)
  std::string resize;  // of learned positions: by "scale", a little too large, or to "size"

  static Lineage of(const Builder& b) {
    const Config rope = rope_of(b.config());
    const bool is_authors = rope.has("xdrope_section");
    const auto choose = [&](const std::string& asked, std::string_view key, const char* fallback) {
      return asked.empty() ? rope.string_or(key, fallback) : asked;
    };
    Lineage out{
        choose(b.reference().xdrope_layout, "xdrope_layout", is_authors ? "A" : "B"),
        choose(b.reference().position_resize, "position_resize", is_authors ? "scale" : "size")};
    if (out.layout != "A" && out.layout != "B")
      fail(
          ErrorCode::unsupported, "{}: xdrope_layout {}: expected A or B", rope.path(), out.layout);
    if (out.resize != "size" && out.resize != "scale")
      fail(ErrorCode::unsupported,
           "{}: position_resize {}: expected size or scale",
           rope.path(),
           out.resize);
    return out;
  }
};

VisionConfig VisionConfig::from(const Builder& b, int64_t decoder_width) {
  const Config vision = b.config().sub("vision_config");
  VisionConfig c;
  c.depth = vision.integer_or("num_hidden_layers", 27, 1, 1000);
  c.width = vision.integer_or("hidden_size", 1152, 1, 1 << 20);
  c.heads = vision.integer_or("num_attention_heads", 16, 1, 4096);
  c.inner = vision.integer_or("intermediate_size", 4304, 1, 1 << 24);
  c.merge = vision.integer_or("spatial_merge_size", 2, 1, 64);
  c.eps = norm_eps_in(vision, "rms_norm_eps", 1e-5);
  c.out = decoder_width;
  c.act = activation_op(vision.string_or("hidden_act", "gelu"), vision.path());
  c.overhang = Lineage::of(b).resize == "scale" ? 0.1 : 0;
  const int64_t side = vision.integer_or("patch_size", 16, 1, 1024);
  c.patch_values = vision.integer_or("num_channels", 3, 1, 64) * side * side;
  c.positions = vision.integer_or("max_image_size", 2048, side, 1 << 16) / side;
  require_integer(vision, "temporal_patch_size", 1);
  require_integer(vision, "cat_extra_token", 1);
  const std::string mode = vision.string_or("interpolate_mode", "bilinear");
  if (mode != "bilinear")
    fail(ErrorCode::unsupported, "{}: interpolate_mode {}: expected bilinear", vision.path(), mode);
  if (c.width % c.heads != 0)
    fail(ErrorCode::data_loss,
         "{}: num_attention_heads {}: expected a divisor of hidden_size {}",
         vision.path(),
         c.heads,
         c.width);
  return c;
}

// h += attention(layer_norm(h));  h += mlp(layer_norm(h))
struct VisionBlock {
  VisionBlock(const Builder& b, const VisionConfig& c, const TowerNames& names)
      : attn_norm(b / names.attn_norm, c.width, c.eps),
        mlp_norm(b / names.mlp_norm, c.width, c.eps),
        attn(b / "self_attn",
             {.hidden = c.width, .heads = c.heads, .is_stacked = false, .out_name = "o_proj"}),
        mlp(b, names.fc1, names.fc2, {c.width, c.inner, c.width}, c.act) {}

  // h [P, width], updated in place
  void operator()(Ctx& ctx, Tensor& h, std::span<const int32_t> segments) const {
    ops::add_(ctx, h, attn(ctx, attn_norm(ctx, h), RopeTables{}, segments));
    ops::add_(ctx, h, mlp(ctx, mlp_norm(ctx, h)));
  }

  LayerNorm attn_norm, mlp_norm;
  VisionAttention attn;
  PlainMlp mlp;
};

// Patches of one picture -> its token rows: begin, rows of cells with a newline behind each, end.
class Merger {
 public:
  Merger(const Builder& b, const VisionConfig& c, const TowerNames& names)
      : config_(c),
        patch_norm_(b / "before_rms", c.width, c.eps),
        row_norm_(b / "after_rms", c.out, c.eps),
        convolutions_(b,
                      names.conv,
                      names.conv_out,
                      {c.width * c.merge * c.merge, 2 * c.width, 4 * c.width},
                      c.act),
        mlp_(b.whole({"mlp"}, c.out, 4 * c.width, Bias::present)),
        newline_(b.vector("image_newline", 4 * c.width).reshape({1, 4 * c.width})),
        begin_(b.vector("image_begin", c.out).reshape({1, c.out})),
        end_(b.vector("image_end", c.out).reshape({1, c.out})) {
    convolutions_.first.gather_inputs(conv_inputs(c.width, c.merge));
  }

  // h [h w, width], patches row by row -> [rows (columns + 1) + 2, out]
  Tensor operator()(Ctx& ctx, const Tensor& h, const PatchGrid& grid) const {
    const Tensor cells = convolutions_(ctx, cells_of(ctx, patch_norm_(ctx, h), grid));
    const Tensor lines = mlp_(ctx, with_newlines(ctx, cells, grid));
    Tensor out = ctx.empty({lines.dim(0) + 2, config_.out});
    ops::copy_rows_(ctx, out, 0, begin_);
    ops::copy_rows_(ctx, out, 1, lines);
    ops::copy_rows_(ctx, out, lines.dim(0) + 1, end_);
    return row_norm_(ctx, out);
  }

 private:
  // Regrouped cell by cell: [cells, merge² width].
  Tensor cells_of(Ctx& ctx, const Tensor& patches, const PatchGrid& grid) const {
    const std::vector<int32_t> places = patch_positions(grid);
    std::vector<int32_t> order(static_cast<size_t>(grid.patches()));
    for (size_t i = 0; i < order.size(); ++i)
      order[i] = places[i] * static_cast<int32_t>(grid.w) + places[order.size() + i];
    return ops::gather_rows(ctx, patches, order)
        .reshape({grid.cells(), config_.width * grid.merge * grid.merge});
  }

  Tensor with_newlines(Ctx& ctx, const Tensor& cells, const PatchGrid& grid) const {
    Tensor all = ctx.empty({cells.dim(0) + 1, cells.dim(1)});
    ops::copy_rows_(ctx, all, 0, cells);
    ops::copy_rows_(ctx, all, cells.dim(0), newline_);
    const int64_t columns = grid.w / grid.merge;
    std::vector<int32_t> order;
    for (int64_t cell = 0; cell < cells.dim(0); ++cell) {
      order.push_back(static_cast<int32_t>(cell));
      if (cell % columns == columns - 1) order.push_back(static_cast<int32_t>(cells.dim(0)));
    }
    return ops::gather_rows(ctx, all, order);
  }

  VisionConfig config_;
  RmsNorm patch_norm_, row_norm_;
  PlainMlp convolutions_;  // of a cell's patches, then of the cell alone
  Linear mlp_;
  Tensor newline_, begin_, end_;
};

class Tower final : public VisionTower {
 public:
  Tower(const Builder& b, const VisionConfig& c, const TowerNames& names)
      : config_(c),
        patch_embed_(
            b.whole({"embeddings.patch_embedding"}, c.width, c.patch_values, Bias::present)),
        positions_(b,
                   "embeddings.position_embedding",
                   {.side = c.positions,
                    .width = c.width,
                    .unused_rows = 1,
                    .filter = PositionGridConfig::Filter::bilinear,
                    .overhang = c.overhang}),
        merger_(b / names.merger, c, names) {
    for (int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(b / "layers" / i, c, names);
  }

  // P patches, row by row -> [tokens, out]
  Tensor operator()(Ctx& ctx, const MediaInput& media, Probe* probe) const override {
    const PatchGrid grid = grid_of(media, config_.merge, config_.patch_values);
    if (grid.t != 1)
      fail(ErrorCode::invalid_argument, "a clip of {} frames: this model sees pictures", grid.t);
    const std::vector<int32_t> places = patch_positions({1, grid.h, grid.w, 1});
    const std::vector<int32_t> segments = frame_segments(grid);
    Tensor h = patch_embed_(ctx, patch_values(ctx, media));
    ops::add_(ctx, h, positions_(ctx, grid.h, grid.w, places));
    for (const VisionBlock& block : blocks_) block(ctx, h, segments);
    if (probe) probe->record("image_encoder_last_hidden", 0, h);
    Tensor tokens = merger_(ctx, h, grid);
    if (probe) probe->record("image_embeds", 0, tokens);
    return tokens;
  }

 private:
  VisionConfig config_;
  Linear patch_embed_;
  PositionGrid positions_;
  std::vector<VisionBlock> blocks_;
  Merger merger_;
};

// Keys that the reference ignores or takes for granted: another value is another model.
void check_text(const Config& text) {
  require_boolean(text, "use_qk_norm", true);
  require_boolean(text, "use_cla", false);
  require_boolean(text, "mlp_bias", false);
  require_integer(text, "num_experts", 1);
  if (text.has("attention_head_dim") && text.has("head_dim") &&
      text.integer("attention_head_dim") != text.integer("head_dim"))
    fail(ErrorCode::data_loss,
         "{}: attention_head_dim {}, head_dim {}: they mean the same",
         text.path(),
         text.integer("attention_head_dim"),
         text.integer("head_dim"));
}

DecoderConfig text_config(const Config& root) {
  const Config text = root.sub_or_self("text_config");
  check_text(text);
  DecoderConfig c = DecoderConfig::from(root, 1e-5);
  if (!text.has("head_dim"))
    c.attention.sizes.head_size =
        text.integer_or("attention_head_dim", c.attention.sizes.head_size, 2, 4096);
  c.attention.qkv_bias = c.attention.out_bias =
      text.boolean_or("attention_bias", false) ? Bias::present : Bias::none;
  c.attention.rotated_norm_eps = c.norm_eps;
  c.is_tied = text.boolean_or("tie_word_embeddings", root.boolean_or("tie_word_embeddings", true));
  return c;
}

// How the frequencies are shared out: numbers of pairs, or shares of them.
std::vector<int64_t> sections_of(const Config& rope, int64_t pairs) {
  const char* key = rope.has("xdrope_section") ? "xdrope_section" : "mrope_section";
  std::vector<int64_t> out;
  bool is_possible = true;
  for (const double number : rope.numbers(key)) {
    const double section = number < 1 ? number * static_cast<double>(pairs) : number;
    is_possible &=
        section >= 0 && section <= static_cast<double>(pairs) && section == std::floor(section);
    out.push_back(is_possible ? static_cast<int64_t>(section) : 0);
  }
  const bool is_whole = std::accumulate(out.begin(), out.end(), int64_t{0}) == pairs;
  if (!is_possible || !is_whole || out.size() < 3 || out.size() > 4)
    fail(ErrorCode::data_loss,
         "{}: {}: expected 3 or 4 numbers of frequencies that sum to {}",
         rope.path(),
         key,
         pairs);
  return out;
}

// The base that NTK scaling by a fixed alpha gives; it does not depend on the length.
double theta_of(const Config& text, const Config& rope, int64_t head_size) {
  const double theta = rope_theta(text, rope, 10000);
  const std::string type = rope_type(rope);
  if (type == "default") return theta;
  if (type != "xdrope" && type != "dynamic" && type != "ntk_alpha")
    fail(ErrorCode::unsupported,
         "{}: type {}: expected xdrope, dynamic with an alpha, or default",
         rope.path(),
         type);
  const double alpha = rope.number("alpha");
  if (!(alpha >= 1 && alpha < 1e9))
    fail(ErrorCode::data_loss, "{}: alpha: expected 1 to 1e9, got {}", rope.path(), alpha);
  for (const char* key : {"factor", "mscale", "mscale_all_dim"})
    if (rope.number_or(key, 1) != 1)
      fail(ErrorCode::unsupported,
           "{}: {} {}: beside an alpha expected 1",
           rope.path(),
           key,
           rope.number(key));
  const auto size = static_cast<double>(head_size);
  return theta * std::pow(alpha, size / (size - 2));
}

Rope text_rope(const Builder& b, const Lineage& lineage, DecoderConfig& c) {
  const Config text = b.config().sub_or_self("text_config"), rope = rope_of(b.config());
  const int64_t size = c.attention.sizes.head_size;
  if (size < 4 || size % 2 != 0)
    fail(ErrorCode::data_loss, "{}: head_dim {}: expected 4, 6, 8, …", text.path(), size);
  const bool has_two_angles = lineage.layout == "B";
  if (has_two_angles) c.attention.rope_style = ops::RopeStyle::two_angles;
  return Rope::sectioned(size,
                         theta_of(text, rope, size),
                         sections_of(rope, size / 2),
                         has_two_angles ? Rope::Sections::elements : Rope::Sections::pairs);
}

std::unique_ptr<VisionTower> make_tower(const Builder& b, const DecoderConfig& c) {
  if (b.stage().rank() != 0) return nullptr;
  const TowerNames names = names_in(b);
  return std::make_unique<Tower>(b / names.tower, VisionConfig::from(b, c.hidden), names);
}

}  // namespace

std::unique_ptr<Model> make_hunyuan_vl(const Builder& b) {
  const Lineage lineage = Lineage::of(b);
  if (b.has_weights() && b.shard().rank() == 0 && b.stage().rank() == 0)
    log(LogLevel::info,
        "hunyuan_vl xdrope_layout={} position_resize={}",
        lineage.layout,
        lineage.resize);
  DecoderConfig c = text_config(b.config());
  Rope rope = text_rope(b, lineage, c);
  auto model = std::make_unique<DecoderModel>(
      b, DecoderModel::Family{kArchitecture, "hunyuan_vl"}, c, std::move(rope));
  const auto image =
      static_cast<int32_t>(b.config().integer_or("image_token_id", kImageToken, 0, c.vocab - 1));
  model->take_pictures(b, make_tower(b, c), {.image = image});
  return model;
}

}  // namespace quern

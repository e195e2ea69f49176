// SPDX-License-Identifier: Apache-2.0
#include "quantize/mlp_rules.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "weights/formats/compressed_targets.h"
#include "weights/quantization_config.h"

namespace quern {
namespace {

using Kind = GroupIndexPadding::Kind;

constexpr std::string_view kParts[] = {"mlp.gate_proj", "mlp.up_proj"};
constexpr std::string_view kFused = "mlp.gate_up_proj", kDown = "mlp.down_proj";

uint64_t one_of(const TensorInfo& scales) {
  switch (scales.stored) {
    case Stored::f16:
      return 0x3c00;
    case Stored::bf16:
      return 0x3f80;
    case Stored::f32:
      return 0x3f800000;
    case Stored::f8_e8m0:
    case Stored::u8:
      return 127;
    case Stored::f8_e4m3:
      return 0x38;
    default:
      fail(ErrorCode::unsupported,
           "{}: scales of {}: expected f32, f16, bf16 or an FP8 type",
           scales.name,
           name_of(scales.stored));
  }
}

// Words that hold `field` again and again, lowest bits first: `bits` words of 32 fields, or one
// where fields do not straddle words.
std::vector<uint64_t> words_of(uint32_t field, int bits) {
  std::vector<uint64_t> words(bits == 3 ? 3 : 1, 0);
  for (size_t bit = 0; bit < 32 * words.size(); ++bit) {
    const auto b = static_cast<uint32_t>(bit % static_cast<size_t>(bits));
    words[bit / 32] |= uint64_t{field >> b & 1} << (bit % 32);
  }
  return words;
}

// One linear layer, with a side of its matrix that grows.
class Module {
 public:
  Module(const Checkpoint& checkpoint, std::string prefix, bool is_down, MlpRules& out)
      : checkpoint_(checkpoint), prefix_(std::move(prefix)), is_down_(is_down), out_(out) {
    halves_ = mlp_side_of(prefix_).value().halves;
  }

  void add() {
    if (find("qweight") != nullptr)
      add_qweight();
    else if (find("weight_packed") != nullptr)
      add_packed();
    else if (find("weight") != nullptr)
      add_weight();
    else
      refuse(
          "no weight, qweight or weight_packed: this build pads plain, AWQ, GPTQ, "
          "compressed-tensors and FP8 layers");
    if (!is_down_ && find("bias") != nullptr) axis("bias", 0, {0});
    expect_all_known();
    ++out_.modules;
  }

 private:
  [[noreturn]] void refuse(std::string_view why) const {
    fail(ErrorCode::unsupported, "{}: cannot be padded: {}", prefix_, why);
  }
  const TensorInfo* find(std::string_view part) const {
    return checkpoint_.find(format("{}.{}", prefix_, part));
  }
  const TensorInfo& get(std::string_view part) const {
    return checkpoint_.info(format("{}.{}", prefix_, part));
  }
  void granule(int64_t channels) { out_.granule = std::lcm(out_.granule, channels); }

  // The axis of `part` that grows: `entries` entries for `channels` channels.
  AxisPadding& axis(std::string_view part,
                    int at,
                    std::vector<uint64_t> fill,
                    int64_t channels = 1,
                    int64_t entries = 1) {
    AxisPadding padding{.axis = at,
                        .entries = entries,
                        .channels = channels,
                        .halves = halves_,
                        .fill = std::move(fill),
                        .fill_axis = at};
    const TensorInfo& tensor = get(part);
    const int64_t expected = halves_ * padding.entries_of(out_.intermediate);
    if (tensor.shape.rank() <= at || tensor.shape[at] != expected)
      fail(ErrorCode::data_loss,
           "{}: expected {} along axis {} by intermediate_size {}, got {}: config.json and weights "
           "are of different checkpoints",
           tensor.name,
           expected,
           at,
           out_.intermediate,
           tensor.shape.text());
    if (halves_ > 1 && out_.intermediate * entries % channels != 0)
      refuse("the halves of this fused layer do not meet at a whole entry");
    PaddingRule& rule = out_.rules[tensor.name];
    rule.how = std::move(padding);
    return std::get<AxisPadding>(rule.how);
  }

  // Groups along K of a down_proj.
  int64_t group_size(int64_t groups) const {
    const std::optional<int64_t> stated = checkpoint_.quantization().scheme_of(prefix_).group_size;
    const int64_t size = stated && *stated > 0 ? *stated : out_.intermediate / groups;
    if (out_.intermediate % size != 0 || out_.intermediate / size != groups)
      refuse(format("{} groups of {} do not make {} channels; the last group is a partial one",
                    groups,
                    size,
                    out_.intermediate));
    return size;
  }

  void add_qweight() {
    const TensorInfo& words = get("qweight");
    const TensorInfo& scales = get("scales");
    if (words.stored != Stored::i32 || words.shape.rank() != 2 || scales.shape.rank() != 2)
      refuse(
          "stored as AWQ's gemv_fast or in another layout than gemm, gemv and GPTQ: its zero "
          "points are rounded products; save the checkpoint as gemm first");
    if (checkpoint_.quantization().method() != "awq") return add_gptq(words, scales);
    if (checkpoint_.quantization().version() == "gemv") return add_gemv(scales);
    add_gemm(scales);
  }

  void add_gemm(const TensorInfo& scales) {
    const bool has_zeros = find("qzeros") != nullptr && is_asymmetric();
    const uint64_t code = has_zeros ? 0 : 0x88888888;
    if (!is_down_) {
      granule(8);
      axis("qweight", 1, {code}, 8);
      axis("scales", 1, {one_of(scales)});
      if (find("qzeros") != nullptr) axis("qzeros", 1, {code}, 8);
      return;
    }
    const int64_t size = grouped(scales.shape[0], has_zeros);
    axis("qweight", 0, {code});
    if (size == 0) return;
    axis("scales", 0, {one_of(scales)}, size);
    if (find("qzeros") != nullptr) axis("qzeros", 0, {code}, size);
  }

  bool is_asymmetric() const {
    return checkpoint_.quantization().fields().boolean_or("zero_point", true);
  }

  // The group size of a down_proj; 0 for one group over all of K, which added channels join.
  int64_t grouped(int64_t groups, bool has_zeros) {
    const std::optional<int64_t> stated = checkpoint_.quantization().scheme_of(prefix_).group_size;
    const bool is_one = groups == 1 && (!stated || *stated <= 0);
    if (is_one && has_zeros)
      refuse(
          "one group over all channels with zero points of its own: added channels would need "
          "a code for each row");
    if (is_one) return 0;
    const int64_t size = group_size(groups);
    granule(size);
    return size;
  }

  void add_gemv(const TensorInfo& scales) {
    const bool has_zeros = find("qzeros") != nullptr && is_asymmetric();
    const uint64_t code = has_zeros ? 0 : 0x88888888;
    if (!is_down_) {
      axis("qweight", 0, {code});
      axis("scales", 0, {one_of(scales)});
      if (find("qzeros") != nullptr) axis("qzeros", 0, {code});
      return;
    }
    const std::optional<int64_t> stated = checkpoint_.quantization().scheme_of(prefix_).group_size;
    if (!stated || *stated <= 0) refuse("gemv without a group_size in quantization_config");
    if (out_.intermediate % *stated != 0) refuse("its last group is a partial one");
    granule(std::lcm<int64_t>(*stated, 8));
    axis("qweight", 1, {code}, 8);
    // Rows of zero points are padded to whole words, by twos or fours for small groups; so are
    // scales. The slots between hold zeros, which decode to zero with code 0.
    const int64_t step = *stated >= 128 ? 1 : *stated >= 64 ? 2 : 4;
    axis("scales", 1, {one_of(scales)}, 8 * step * *stated, 8 * step);
    if (find("qzeros") != nullptr) axis("qzeros", 1, {code}, 8 * step * *stated, step);
    if (!has_zeros) refuse("gemv without zero points");
    out_.only_tail = true;
    out_.why_only_tail = "AWQ's gemv packs the zero points of 8 groups in a word";
  }

  void add_gptq(const TensorInfo& words, const TensorInfo& scales) {
    const ModuleScheme scheme = checkpoint_.quantization().scheme_of(prefix_);
    const int bits = scheme.bits.value_or(4);
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
      refuse(format("GPTQ of {} bits: this build reads 2, 3, 4 and 8", bits));
    const int64_t unit = bits == 3 ? 32 : 32 / bits, unit_words = bits == 3 ? 3 : 1;
    const std::vector<uint64_t> codes = words_of(1u << (bits - 1), bits), zeros = zeros_of(bits);
    granule(unit);
    if (!is_down_) {
      axis("qweight", 1, codes).fill_axis = 0;
      axis("scales", 1, {one_of(scales)});
      if (find("qzeros") != nullptr) axis("qzeros", 1, zeros, unit, unit_words);
      return;
    }
    (void)words;
    const bool has_zeros = !scheme.symmetric.value_or(false);
    const int64_t size = grouped(scales.shape[0], has_zeros);
    axis("qweight", 0, codes, unit, unit_words);
    if (size == 0) {
      if (find("g_idx") != nullptr) index("g_idx", 1, out_.intermediate);
      return;
    }
    axis("scales", 0, {one_of(scales)}, size);
    if (find("qzeros") != nullptr) axis("qzeros", 0, zeros, size).fill_axis = 1;
    if (find("g_idx") != nullptr) index("g_idx", scales.shape[0], size);
  }

  // Words of zero points 2^(bits - 1) as this checkpoint stores them: version 1 took one from each
  // field, GPTQModel of 3 bits three other words.
  std::vector<uint64_t> zeros_of(int bits) const {
    const QuantizationConfig& config = checkpoint_.quantization();
    const uint32_t middle = 1u << (bits - 1);
    if (config.checkpoint_format() == "gptq_v2") return words_of(middle, bits);
    if (bits != 3 || config.quantizer().find("gptqmodel") == std::string::npos)
      return words_of(middle - 1, bits);
    std::vector<uint64_t> words = words_of(middle, bits);
    const uint32_t taken[] = {0x24924924, 0x92492492, 0x49249249};
    for (size_t i = 0; i < 3; ++i) words[i] = static_cast<uint32_t>(words[i]) - taken[i];
    return words;
  }

  void index(std::string_view part, int64_t groups, int64_t size) {
    const TensorInfo& tensor = get(part);
    if (tensor.stored != Stored::i32 || tensor.shape.rank() != 1 ||
        tensor.shape[0] != out_.intermediate)
      fail(ErrorCode::data_loss,
           "{}: expected i32 [{}], got {} {}",
           tensor.name,
           out_.intermediate,
           name_of(tensor.stored),
           tensor.shape.text());
    const Kind kind = kind_of(checkpoint_.bytes(tensor.name), size);
    out_.rules[tensor.name].how = GroupIndexPadding{groups, size, kind};
    if (kind != Kind::scattered) return;
    for (const std::string_view grid : {"scales", "qzeros", "weight_scale", "weight_zero_point"})
      if (const TensorInfo* found = find(grid))
        if (const auto it = out_.rules.find(found->name); it != out_.rules.end())
          it->second.is_tail = true;
  }

  static Kind kind_of(std::span<const std::byte> bytes, int64_t size) {
    bool is_zero = true, is_natural = true;
    for (size_t k = 0; 4 * k < bytes.size(); ++k) {
      int32_t group = 0;
      std::memcpy(&group, bytes.data() + 4 * k, 4);
      is_zero &= group == 0;
      is_natural &= group == static_cast<int64_t>(k) / size;
    }
    return is_natural ? Kind::natural : is_zero ? Kind::zeros : Kind::scattered;
  }

  void add_packed() {
    const CompressedTargets* targets = checkpoint_.quantization().compressed();
    const CompressedScheme* scheme = targets == nullptr ? nullptr : targets->scheme_of(prefix_);
    if (scheme == nullptr || !scheme->bits || scheme->is_float)
      refuse("weight_packed of a format other than pack-quantized");
    const int bits = *scheme->bits;
    if (bits != 4 && bits != 8) refuse(format("{} bits: 4 and 8 can be padded", bits));
    const uint64_t code = words_of(1u << (bits - 1), bits)[0];
    const TensorInfo* zeros = find("weight_zero_point");
    axis("weight_packed", is_down_ ? 1 : 0, {code}, is_down_ ? 32 / bits : 1);
    if (is_down_) granule(32 / bits);
    add_scales(zeros);
    if (zeros != nullptr && !is_down_) {
      const bool is_word = zeros->stored == Stored::i32;
      if (is_word) granule(32 / bits);
      axis("weight_zero_point", 0, {is_word ? code : 0}, is_word ? 32 / bits : 1);
    }
    if (const TensorInfo* order = find("weight_g_idx"); order != nullptr && is_down_) {
      const int64_t groups = get("weight_scale").shape[1];
      index("weight_g_idx", groups, group_size_or_all(groups));
    }
    if (const TensorInfo* shape = find("weight_shape"))
      out_.rules[shape->name].how = ShapePadding{is_down_ ? 1 : 0, halves_};
  }

  int64_t group_size_or_all(int64_t groups) const {
    return groups == 1 ? out_.intermediate : out_.intermediate / groups;
  }

  // weight_scale [N, G], [N, 1], [N] or [1], of a compressed-tensors or FP8 layer.
  void add_scales(const TensorInfo* zeros) {
    const TensorInfo& scales = get("weight_scale");
    const Shape& shape = scales.shape;
    if (shape.numel() == 1 && !zeros) return;
    if (const std::optional<BlockSize> block = stated_block(); block && block->rows > 1)
      return add_blocks("weight_scale", *block);
    if (!is_down_) {
      axis("weight_scale", 0, {one_of(scales)});
      return;
    }
    const int64_t groups = shape.rank() == 2 ? shape[1] : 1;
    if (groups == 1 && zeros != nullptr)
      refuse(
          "one group over all channels with zero points of its own: added channels would need "
          "a code for each row");
    if (groups == 1) return;
    if (out_.intermediate % groups != 0) refuse("its last group is a partial one");
    const int64_t size = out_.intermediate / groups;
    granule(size);
    axis("weight_scale", 1, {one_of(scales)}, size);
    if (zeros == nullptr) return;
    const uint64_t middle = scheme_bits() == 8 ? 0x80808080 : 0x88888888;
    axis("weight_zero_point", 1, {zeros->stored == Stored::i32 ? middle : 0}, size);
  }

  int scheme_bits() const {
    const CompressedTargets* targets = checkpoint_.quantization().compressed();
    const CompressedScheme* scheme = targets == nullptr ? nullptr : targets->scheme_of(prefix_);
    return scheme == nullptr ? 8 : scheme->bits.value_or(8);
  }

  std::optional<BlockSize> stated_block() const {
    const QuantizationConfig& config = checkpoint_.quantization();
    if (config.compressed() != nullptr) {
      const CompressedScheme* scheme = config.compressed()->scheme_of(prefix_);
      return scheme == nullptr ? std::nullopt : scheme->block;
    }
    if (!config.fields().has("weight_block_size")) return std::nullopt;
    const std::vector<int64_t> sides = config.fields().integers("weight_block_size");
    if (sides.size() != 2 || std::ranges::min(sides) < 1 || std::ranges::max(sides) > 1 << 20)
      fail(ErrorCode::data_loss, "weight_block_size: expected two positive numbers");
    return BlockSize{sides[0], sides[1]};
  }

  // Partial blocks at the edge grow to whole ones; their scale stays. Blocks added have scale 1.
  void add_blocks(std::string_view part, const BlockSize& block) {
    const int64_t side = is_down_ ? block.cols : block.rows;
    if (side <= 0) refuse("blocks without a size");
    granule(side);
    axis(part, is_down_ ? 1 : 0, {one_of(get(part))}, side);
    if (out_.intermediate % side == 0) return;
    out_.only_tail = true;
    out_.why_only_tail = format("{} is no multiple of the block of {}", out_.intermediate, side);
  }

  void add_weight() {
    const TensorInfo& weight = get("weight");
    if (checkpoint_.quantization().method() == "bitsandbytes" && weight.stored == Stored::u8)
      refuse("bitsandbytes packs blocks across rows: pad the checkpoint it was made from");
    if (weight.shape.rank() != 2) refuse("its weight has no two axes");
    axis("weight", is_down_ ? 1 : 0, {0});
    const TensorInfo* zeros = find("weight_zero_point");
    if (find("weight_scale_inv") != nullptr)
      add_blocks("weight_scale_inv", stated_block().value_or(BlockSize{128, 128}));
    else if (find("weight_scale") != nullptr)
      add_scales(zeros);
    if (zeros != nullptr && !is_down_ && zeros->shape.numel() > 1)
      axis("weight_zero_point", 0, {0});
  }

  // A tensor that no rule knows may need padding too: better refused than left behind.
  void expect_all_known() const {
    static constexpr std::string_view kKnown[] = {"weight",
                                                  "bias",
                                                  "qweight",
                                                  "qzeros",
                                                  "scales",
                                                  "g_idx",
                                                  "weight_packed",
                                                  "weight_scale",
                                                  "weight_shape",
                                                  "weight_zero_point",
                                                  "weight_g_idx",
                                                  "input_scale",
                                                  "weight_scale_inv",
                                                  "input_zero_point"};
    for (const std::string& name : checkpoint_.names()) {
      if (!name.starts_with(prefix_ + ".")) continue;
      const std::string_view part = std::string_view(name).substr(prefix_.size() + 1);
      if (std::ranges::find(kKnown, part) == std::end(kKnown))
        refuse(format("what to do with its tensor {} is not known to this build", part));
    }
  }

  const Checkpoint& checkpoint_;
  std::string prefix_;
  bool is_down_;
  MlpRules& out_;
  int halves_ = 1;
};

// "model.layers.0.mlp.up_proj" of each tensor below such a name; vision and audio towers have sizes
// of their own.
std::map<std::string, bool> modules_of(const Checkpoint& checkpoint) {
  std::map<std::string, bool> modules;  // → is a down_proj
  for (const std::string& name : checkpoint.names()) {
    if (name.starts_with("visual.") || name.find("vision") != std::string::npos ||
        name.find("audio") != std::string::npos)
      continue;
    const std::string prefix = name.substr(0, name.rfind('.'));
    if (const std::optional<MlpSide> side = mlp_side_of(prefix)) modules[prefix] = side->is_down;
  }
  return modules;
}

void refuse_experts(const Checkpoint& checkpoint) {
  for (const std::string& name : checkpoint.names())
    if (name.find(".experts.") != std::string::npos)
      fail(ErrorCode::unsupported,
           "{}: a mixture of experts: repair pads the gated MLP of dense models",
           name);
}

}  // namespace

std::optional<MlpSide> mlp_side_of(std::string_view module) {
  if (module.ends_with(kDown)) return MlpSide{true, 1};
  if (module.ends_with(kFused)) return MlpSide{false, 2};
  for (const std::string_view part : kParts)
    if (module.ends_with(part)) return MlpSide{false, 1};
  return std::nullopt;
}

MlpRules mlp_rules(const Checkpoint& checkpoint) {
  refuse_experts(checkpoint);
  MlpRules out;
  out.intermediate =
      checkpoint.config().sub_or_self("text_config").integer("intermediate_size", 1, 1 << 24);
  for (const auto& [prefix, is_down] : modules_of(checkpoint))
    Module(checkpoint, prefix, is_down, out).add();
  if (out.modules == 0)
    fail(ErrorCode::unsupported,
         "no …mlp.gate_proj, up_proj or down_proj in this checkpoint: there is nothing to pad");
  return out;
}

}  // namespace quern

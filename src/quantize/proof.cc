// SPDX-License-Identifier: Apache-2.0
#include "quantize/proof.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/topology.h"
#include "models/registry.h"
#include "nn/owned_ctx.h"
#include "nn/sequence_runner.h"
#include "weights/tensor_names.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

constexpr double kBound = 2e-3;
constexpr int64_t kPrompts = 3, kPromptTokens = 12;

// Compares a stream of bytes with what is expected.
class Comparison {
 public:
  Comparison(std::span<const std::byte> expected, std::string_view name)
      : left_(expected), name_(name) {}

  void add(std::span<const std::byte> bytes) {
    if (bytes.size() > left_.size() || std::memcmp(bytes.data(), left_.data(), bytes.size()) != 0)
      fail(
          ErrorCode::data_loss,
          "{}: what was kept differs from the source: the disk or memory of this machine fails, or "
          "the folder was changed",
          name_);
    left_ = left_.subspan(bytes.size());
  }
  void end() const {
    if (!left_.empty())
      fail(ErrorCode::data_loss, "{}: {} bytes of the source are missing", name_, left_.size());
  }

 private:
  std::span<const std::byte> left_;
  std::string_view name_;
};

// The old channel that each new one holds, or -1 where it was added.
std::vector<int64_t> old_channels(const Runs& runs) {
  std::vector<int64_t> out;
  int64_t at = 0;
  for (const Run& run : runs)
    for (int64_t i = 0; i < run.count; ++i) out.push_back(run.is_added ? -1 : at++);
  return out;
}

// One linear layer of both checkpoints, each decoded by its own format.
class DecodedLayer {
 public:
  DecodedLayer(const Checkpoint& source,
               const Checkpoint& repaired,
               std::string_view prefix,
               const Runs& runs)
      : source_(source), repaired_(repaired), prefix_(prefix), old_(old_channels(runs)) {
    old_count_ = kept_channels(runs);
    is_down_ = prefix.ends_with("down_proj");
  }

  // By bands of rows: memory stays small.
  void compare() {
    const WeightFormat& format = format_of(repaired_, prefix_);
    const Shape shape = format.shape(repaired_, prefix_);
    const int64_t unit = format.granule(repaired_, prefix_).rows;
    const int64_t band = std::max<int64_t>(1, (int64_t{1} << 22) / shape[1] / unit) * unit;
    for (int64_t row = 0; row < shape[0]; row += band)
      compare_band({row, std::min(shape[0], row + band)});
  }

  int64_t zeros() const { return zeros_; }
  int64_t kept() const { return kept_; }

 private:
  static Tensor decoded(const Checkpoint& checkpoint, std::string_view prefix, Range rows) {
    const WeightFormat& format = format_of(checkpoint, prefix);
    const int64_t columns = format.shape(checkpoint, prefix)[1];
    return dequantize(format.read(checkpoint, prefix, rows, {0, columns}, Device::cpu()));
  }

  // The source's row of a new row, -1 where it was added. A fused layer holds two such axes.
  int64_t source_row(int64_t row) const {
    if (is_down_) return row;
    const auto channels = static_cast<int64_t>(old_.size());
    const int64_t old = old_[static_cast<size_t>(row % channels)];
    return old < 0 ? -1 : row / channels * old_count_ + old;
  }

  void compare_band(Range rows) {
    Range from{-1, 0};
    for (int64_t r = rows.begin; r < rows.end; ++r)
      if (const int64_t s = source_row(r); s >= 0) from = {from.begin < 0 ? s : from.begin, s + 1};
    const Tensor after = decoded(repaired_, prefix_, rows);
    const Tensor before = from.begin < 0 ? Tensor() : decoded(source_, prefix_, from);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const int64_t s = source_row(r), columns = after.shape()[1];
      const float* values = after.data<float>() + (r - rows.begin) * columns;
      const float* old =
          s < 0 ? nullptr : before.data<float>() + (s - from.begin) * before.shape()[1];
      for (int64_t c = 0; c < columns; ++c) {
        const int64_t o = is_down_ ? old_[static_cast<size_t>(c)] : c;
        expect(values[c], old == nullptr || o < 0 ? nullptr : old + o, r, c);
      }
    }
  }

  // Bits, not values: a NaN of the source is kept too.
  void expect(float value, const float* old, int64_t row, int64_t column) {
    if (old == nullptr ? value != 0.0f
                       : std::bit_cast<uint32_t>(value) != std::bit_cast<uint32_t>(*old))
      fail(ErrorCode::data_loss,
           "{}: [{}, {}] decodes to {}, expected {}",
           prefix_,
           row,
           column,
           value,
           old == nullptr ? 0.0f : *old);
    ++(old == nullptr ? zeros_ : kept_);
  }

  const Checkpoint &source_, &repaired_;
  std::string prefix_;
  std::vector<int64_t> old_;
  int64_t old_count_ = 0, zeros_ = 0, kept_ = 0;
  bool is_down_ = false;
};

std::vector<Tensor> logits_of(const std::string& folder) {
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(folder);
  const Topology machine = probe_topology();
  OwnedCtx ctx({.threads = std::max(1, machine.physical_cores),
                .isa = machine.isa,
                .activation = Activation::f32,
                .arena_bytes = int64_t{64} << 20});
  const Builder builder(checkpoint, ctx.ctx(), {}, {});
  const std::unique_ptr<Model> model = make_model(builder);
  const int64_t vocabulary =
      checkpoint->config().sub_or_self("text_config").integer("vocab_size", 1, 1 << 24);
  SequenceRunner runner(*model, ctx.ctx(), 64);
  std::vector<Tensor> out;
  for (int64_t p = 0; p < kPrompts; ++p) {
    std::vector<int32_t> ids, rows;
    for (int64_t i = 0; i < kPromptTokens; ++i) {
      ids.push_back(static_cast<int32_t>((7919 * (p + 1) * (i + 1) + 101) %
                                         std::min<int64_t>(vocabulary, 50000)));
      rows.push_back(static_cast<int32_t>(i));
    }
    runner.clear();
    const int axes = model->info().rope_axes;
    std::vector<int32_t> positions;
    for (int a = 0; a < axes; ++a)
      for (int32_t i = 0; i < kPromptTokens; ++i) positions.push_back(i);
    out.push_back(
        runner.prefill({.ids = ids, .positions = positions, .axes = axes, .media = {}}, rows));
  }
  return out;
}

void leave_out(Certificate& certificate, std::string_view why) {
  certificate.findings["logits"] = format("NOT COMPARED: {}", why);
  log(LogLevel::warn, "logits NOT COMPARED: {}", why);
}

}  // namespace

void prove_tensors(const SourceFolder& source,
                   const Checkpoint& repaired,
                   Certificate& certificate) {
  int64_t same = 0, padded = 0;
  std::set<std::string> prefixes;
  for (const WeightFile& file : source.weights)
    for (const SafetensorsEntry& entry : file.header.entries) {
      const std::string name = canonical_name(entry.name);
      const auto rule = certificate.rules.find(name);
      Comparison comparison(file.bytes(entry), entry.name);
      const auto add = [&](std::span<const std::byte> bytes) { comparison.add(bytes); };
      const std::span<const std::byte> bytes = repaired.bytes(name);
      if (rule == certificate.rules.end()) {
        add(bytes);
        ++same;
      } else {
        const TensorInfo original{entry.name, entry.stored, entry.shape, {}};
        const TensorInfo& now = repaired.info(name);
        if (now.stored != entry.stored ||
            !(now.shape == shape_after(original, rule->second, certificate.runs)))
          fail(ErrorCode::data_loss, "{}: got {} after padding", entry.name, now.shape.text());
        unpad_tensor(original, bytes, rule->second, certificate.runs, add);
        prefixes.insert(name.substr(0, name.rfind('.')));
        ++padded;
      }
      comparison.end();
      file.file.give_back(entry.begin, entry.end);
      repaired.give_back(name.substr(0, name.rfind('.')));
    }
  int64_t zeros = 0, kept = 0;
  for (const std::string& prefix : prefixes) {
    DecodedLayer layer(*source.checkpoint, repaired, prefix, certificate.runs);
    layer.compare();
    zeros += layer.zeros();
    kept += layer.kept();
    source.checkpoint->give_back(prefix);
    repaired.give_back(prefix);
  }
  certificate.findings["tensors_identical"] = format("{}", same);
  certificate.findings["tensors_padded_kept_part_identical"] = format("{}", padded);
  certificate.findings["kept_weights_decoded_bit_identical"] = format("{}", kept);
  certificate.findings["added_weights_decoded_exactly_zero"] = format("{}", zeros);
}

void prove_logits(const std::string& source,
                  const std::string& repaired,
                  Certificate& certificate) {
  const int64_t bytes = open_checkpoint(repaired)->total_bytes();
  const int64_t available = probe_topology().available_bytes;
  if (bytes > available)
    return leave_out(certificate,
                     format("needs {:.1f} GB of memory, {:.1f} are free: compare by --verify-only "
                            "on a larger machine",
                            1e-9 * static_cast<double>(bytes),
                            1e-9 * static_cast<double>(available)));
  std::vector<Tensor> before, after;
  try {
    before = logits_of(source);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unsupported) throw;
    return leave_out(certificate, e.what());
  }
  after = logits_of(repaired);
  double most = 0, size = 0;
  bool are_same = true;
  for (size_t p = 0; p < before.size(); ++p)
    for (int64_t i = 0; i < before[p].numel(); ++i) {
      const double a = before[p].data<float>()[i], b = after[p].data<float>()[i];
      are_same &= a == b;
      if (!(std::abs(a - b) <= most)) most = std::abs(a - b);  // a NaN stays
      size = std::max(size, std::abs(a));
    }
  certificate.findings["logits"] = are_same ? "bit-equal" : "equal within the bound";
  certificate.findings["logits_largest_difference"] = format("{:.3e}", most);
  certificate.findings["logits_largest"] = format("{:.3e}", size);
  certificate.findings["logits_bound"] = format("{:.1e} x max(1, largest)", kBound);
  if (!(most <= kBound * std::max(1.0, size)))
    fail(ErrorCode::data_loss,
         "{}: logits differ from the source's by {:.3e}, the bound is {:.3e}",
         repaired,
         most,
         kBound * std::max(1.0, size));
}

}  // namespace quern

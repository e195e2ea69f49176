// SPDX-License-Identifier: Apache-2.0
#include "quantize/proof.h"

#include <algorithm>
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

// Whether channel i of the padded axis was added.
std::vector<bool> added_channels(const Runs& runs) {
  std::vector<bool> out;
  for (const Run& run : runs) out.insert(out.end(), static_cast<size_t>(run.count), run.is_added);
  return out;
}

// Decodes a layer by bands of rows and counts the added elements, each of which must be zero.
int64_t expect_zeros(const Checkpoint& repaired, const std::string& prefix, const Runs& runs) {
  const WeightFormat& weights = format_of(repaired, prefix);
  const Shape shape = weights.shape(repaired, prefix);
  const Granule granule = weights.granule(repaired, prefix);
  const std::vector<bool> added = added_channels(runs);
  const auto channels = static_cast<int64_t>(added.size());
  const bool is_down = prefix.ends_with("down_proj");
  const int64_t band =
      std::max<int64_t>(1, (int64_t{1} << 22) / shape[1] / granule.rows) * granule.rows;
  int64_t count = 0;
  for (int64_t row = 0; row < shape[0]; row += band) {
    const Range rows{row, std::min(shape[0], row + band)};
    const Tensor values =
        dequantize(weights.read(repaired, prefix, rows, {0, shape[1]}, Device::cpu()));
    const float* at = values.data<float>();
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t c = 0; c < shape[1]; ++c, ++at) {
        if (!added[static_cast<size_t>((is_down ? c : r) % channels)]) continue;
        ++count;
        if (*at != 0.0f)
          fail(ErrorCode::data_loss,
               "{}: [{}, {}] was added and is {}, not zero",
               prefix,
               r,
               c,
               *at);
      }
  }
  return count;
}

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
        unpad_tensor({entry.name, entry.stored, entry.shape, {}},
                     bytes,
                     rule->second,
                     certificate.runs,
                     add);
        prefixes.insert(name.substr(0, name.rfind('.')));
        ++padded;
      }
      comparison.end();
    }
  int64_t zeros = 0;
  for (const std::string& prefix : prefixes) {
    zeros += expect_zeros(repaired, prefix, certificate.runs);
    repaired.give_back(prefix);
  }
  certificate.findings["tensors_identical"] = format("{}", same);
  certificate.findings["tensors_padded_kept_part_identical"] = format("{}", padded);
  certificate.findings["added_weights_decoded_exactly_zero"] = format("{}", zeros);
}

void prove_logits(const std::string& source,
                  const std::string& repaired,
                  Certificate& certificate) {
  std::vector<Tensor> before, after;
  try {
    before = logits_of(source);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unsupported) throw;
    certificate.findings["logits"] = format("NOT COMPARED: {}", e.what());
    log(LogLevel::warn, "logits NOT COMPARED: {}", e.what());
    return;
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

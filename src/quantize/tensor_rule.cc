// SPDX-License-Identifier: Apache-2.0
// What a rule of mlp_rules.h does to the bytes of its tensor, and back.
#include <cstring>

#include "base/error.h"
#include "quantize/mlp_rules.h"

namespace quern {
namespace {

using Kind = GroupIndexPadding::Kind;

std::span<const std::byte> as_bytes_of(const std::vector<int32_t>& values) {
  return std::as_bytes(std::span(values));
}

int32_t group_in_order(const GroupIndexPadding& how, size_t channel) {
  return how.groups == 1 ? 0 : static_cast<int32_t>(static_cast<int64_t>(channel) / how.group_size);
}

std::vector<int32_t> padded_index(std::span<const std::byte> bytes,
                                  const GroupIndexPadding& how,
                                  const Runs& runs) {
  std::vector<int32_t> out;
  size_t at = 0;
  int64_t added = 0;
  for (const Run& run : runs)
    for (int64_t i = 0; i < run.count; ++i) {
      int32_t group = 0;
      if (run.is_added && how.kind == Kind::scattered)
        group = static_cast<int32_t>(how.groups + added++ / how.group_size);
      else if (!run.is_added)
        std::memcpy(&group, bytes.data() + 4 * at++, 4);
      if (how.kind == Kind::natural) group = group_in_order(how, out.size());
      out.push_back(group);
    }
  return out;
}

std::vector<int32_t> unpadded_index(std::span<const std::byte> padded,
                                    const GroupIndexPadding& how,
                                    const Runs& runs) {
  std::vector<int32_t> out;
  size_t at = 0;
  for (const Run& run : runs)
    for (int64_t i = 0; i < run.count; ++i, ++at) {
      if (run.is_added) continue;
      int32_t group = 0;
      std::memcpy(&group, padded.data() + 4 * at, 4);
      if (how.kind == Kind::natural) group = group_in_order(how, out.size());
      out.push_back(group);
    }
  return out;
}

// Adds `change` to one of the two numbers of weight_shape.
void change_shape(const TensorInfo& tensor,
                  std::span<const std::byte> bytes,
                  const ShapePadding& how,
                  int64_t change,
                  ByteSink out) {
  const size_t width = tensor.stored == Stored::i64 ? 8 : 4;
  if ((tensor.stored != Stored::i64 && tensor.stored != Stored::i32) || bytes.size() != 2 * width)
    fail(ErrorCode::data_loss, "{}: expected two i64 or i32", tensor.name);
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  uint64_t value = 0;  // little-endian: the low bytes are right for both widths
  std::byte* place = copy.data() + static_cast<size_t>(how.axis) * width;
  std::memcpy(&value, place, width);
  value += static_cast<uint64_t>(change * how.halves);
  std::memcpy(place, &value, width);
  out(copy);
}

Runs runs_for(const PaddingRule& rule, const Runs& runs) {
  return rule.is_tail ? tail_runs(kept_channels(runs), all_channels(runs)) : runs;
}

// Rules may come from a certificate that somebody wrote: bytes are cut only where they fit.
void expect_fits(const TensorInfo& tensor, const PaddingRule& rule, const Runs& runs) {
  const Shape& shape = tensor.shape;
  bool fits = true;
  if (const auto* axis = std::get_if<AxisPadding>(&rule.how))
    fits = axis->axis < shape.rank() &&
           shape[axis->axis] == axis->halves * axis->entries_of(kept_channels(runs));
  else if (std::holds_alternative<GroupIndexPadding>(rule.how))
    fits = tensor.stored == Stored::i32 && shape == Shape{kept_channels(runs)};
  if (!fits)
    fail(ErrorCode::data_loss,
         "{}: {} is not padded along an axis of {} channels",
         tensor.name,
         shape.text(),
         kept_channels(runs));
}

}  // namespace

Shape shape_after(const TensorInfo& tensor, const PaddingRule& rule, const Runs& runs) {
  expect_fits(tensor, rule, runs);
  if (const auto* axis = std::get_if<AxisPadding>(&rule.how))
    return padded_shape(tensor, *axis, runs);
  if (std::holds_alternative<GroupIndexPadding>(rule.how)) return {all_channels(runs)};
  return tensor.shape;
}

void pad_tensor(const TensorInfo& tensor,
                std::span<const std::byte> bytes,
                const PaddingRule& rule,
                const Runs& runs,
                ByteSink out) {
  if (const auto* axis = std::get_if<AxisPadding>(&rule.how))
    return pad_axis(tensor, bytes, *axis, runs_for(rule, runs), out);
  if (const auto* index = std::get_if<GroupIndexPadding>(&rule.how))
    return out(as_bytes_of(padded_index(bytes, *index, runs)));
  change_shape(tensor,
               bytes,
               std::get<ShapePadding>(rule.how),
               all_channels(runs) - kept_channels(runs),
               out);
}

void unpad_tensor(const TensorInfo& original,
                  std::span<const std::byte> padded,
                  const PaddingRule& rule,
                  const Runs& runs,
                  ByteSink out) {
  if (const auto* axis = std::get_if<AxisPadding>(&rule.how))
    return unpad_axis(original, padded, *axis, runs_for(rule, runs), out);
  if (const auto* index = std::get_if<GroupIndexPadding>(&rule.how))
    return out(as_bytes_of(unpadded_index(padded, *index, runs)));
  change_shape(original,
               padded,
               std::get<ShapePadding>(rule.how),
               kept_channels(runs) - all_channels(runs),
               out);
}

}  // namespace quern

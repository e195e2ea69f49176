// SPDX-License-Identifier: Apache-2.0
#include "weights/named_tensors.h"

#include <cstring>
#include <functional>
#include <utility>

#include "base/error.h"
#include "weights/stored.h"

namespace quern {
namespace {

// Copies the elements below axis `axis`, last index fastest; returns where the next one goes.
std::byte* copy_in_order(const TensorInfo& info,
                         std::span<const int64_t> strides,
                         const std::byte* from,
                         std::byte* out) {
  const auto item = static_cast<size_t>(block_of(info.stored).bytes);
  const int axis = info.shape.rank() - static_cast<int>(strides.size());
  const auto step = static_cast<size_t>(strides[0]) * item;
  for (int64_t i = 0; i < info.shape[axis]; ++i, from += step) {
    if (strides.size() > 1) {
      out = copy_in_order(info, strides.subspan(1), from, out);
    } else {
      std::memcpy(out, from, item);
      out += item;
    }
  }
  return out;
}

std::vector<std::byte> in_order(const TensorInfo& info,
                                std::span<const int64_t> strides,
                                std::span<const std::byte> bytes) {
  std::vector<std::byte> out(static_cast<size_t>(stored_bytes(info.stored, info.shape, info.name)));
  if (!out.empty()) (void)copy_in_order(info, strides, bytes.data(), out.data());
  return out;
}

}  // namespace

NamedTensors::NamedTensors(MappedFile file)
    : file_(std::move(file)), config_(Config::parse("{}", file_.path())) {}

std::span<const std::byte> NamedTensors::keep(std::vector<std::byte> bytes) {
  kept_.push_back(std::move(bytes));
  return kept_.back();
}

void NamedTensors::insert(Entry entry) {
  total_bytes_ += stored_bytes(entry.info.stored, entry.info.shape, entry.info.name);
  const std::string name = entry.info.name;
  if (!entries_.emplace(name, std::move(entry)).second)
    fail(ErrorCode::data_loss, "tensor {:.200} is stored twice", name);
}

void NamedTensors::add(TensorInfo info, std::span<const std::byte> bytes) {
  insert({std::move(info), bytes, {}, {}});
}

void NamedTensors::add_strided(TensorInfo info, StridedElements elements) {
  QUERN_CHECK(!elements.strides.empty() &&
                  elements.strides.size() == static_cast<size_t>(info.shape.rank()),
              "{}: {} strides for {}",
              info.name,
              elements.strides.size(),
              info.shape.text());
  insert({std::move(info), elements.bytes, std::move(elements.strides), {}});
}

const TensorInfo* NamedTensors::find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second.info;
}

std::vector<std::string> NamedTensors::names() const {
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) out.push_back(name);
  return out;
}

std::span<const std::byte> NamedTensors::bytes(std::string_view name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    (void)info(name);  // throws not_found with near misses
    return {};
  }
  Entry& entry = it->second;
  if (entry.strides.empty()) return entry.bytes;
  const std::lock_guard lock(mutex_);
  if (entry.in_order.empty()) entry.in_order = in_order(entry.info, entry.strides, entry.bytes);
  return entry.in_order;
}

// action(begin, end), in bytes of the file, for each tensor below `prefix`.
template <typename Action>
void NamedTensors::for_file_ranges(std::string_view prefix, Action&& action) const {
  const std::span<const std::byte> whole = file_.bytes();
  const std::string start = format("{}.", prefix);
  for (auto it = entries_.lower_bound(start); it != entries_.end() && it->first.starts_with(start);
       ++it) {
    const std::span<const std::byte> part = it->second.bytes;
    if (part.empty() || std::less<>()(part.data(), whole.data()) ||
        !std::less<>()(part.data(), whole.data() + whole.size()))
      continue;
    const auto begin = static_cast<size_t>(part.data() - whole.data());
    action(begin, begin + part.size());
  }
}

void NamedTensors::read_ahead(std::string_view prefix) const {
  for_file_ranges(prefix, [&](size_t begin, size_t end) { file_.read_ahead(begin, end); });
}

void NamedTensors::give_back(std::string_view prefix) const {
  for_file_ranges(prefix, [&](size_t begin, size_t end) { file_.give_back(begin, end); });
}

}  // namespace quern

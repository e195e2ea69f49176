// SPDX-License-Identifier: Apache-2.0
#include "weights/mapped_checkpoint.h"

#include <functional>
#include <utility>

#include "base/error.h"
#include "weights/stored.h"
#include "weights/tensor_names.h"

namespace quern {

std::span<const std::byte> MappedCheckpoint::own(MappedFile file) {
  files_.push_back(std::move(file));
  return files_.back().bytes();  // the mapping itself never moves
}

void MappedCheckpoint::insert(Entry entry, std::string_view where) {
  entry.info.name = canonical_name(entry.info.name);
  total_bytes_ += entry.has_bytes
                      ? static_cast<int64_t>(entry.bytes.size())
                      : stored_bytes(entry.info.stored, entry.info.shape, entry.info.name);
  const std::string name = entry.info.name;
  if (!entries_.emplace(name, std::move(entry)).second)
    fail(ErrorCode::data_loss, "{}: tensor {} is stored twice", where, name);
}

void MappedCheckpoint::add(TensorInfo info,
                           std::span<const std::byte> bytes,
                           std::string_view where) {
  insert({std::move(info), bytes, true}, where);
}

void MappedCheckpoint::add_shape(TensorInfo info) {
  insert({std::move(info), {}, false}, "list of shapes");
}

const MappedCheckpoint::Entry* MappedCheckpoint::entry(std::string_view name) const {
  auto it = entries_.find(name);
  // Callers may ask by either generation of names.
  if (it == entries_.end()) it = entries_.find(canonical_name(name));
  return it == entries_.end() ? nullptr : &it->second;
}

const TensorInfo* MappedCheckpoint::find(std::string_view name) const {
  const Entry* e = entry(name);
  return e == nullptr ? nullptr : &e->info;
}

std::vector<std::string> MappedCheckpoint::names() const {
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const auto& [name, e] : entries_) out.push_back(name);
  return out;
}

std::span<const std::byte> MappedCheckpoint::bytes(std::string_view name) const {
  const Entry* e = entry(name);
  if (e == nullptr) {
    if (entries_.empty())
      fail(
          ErrorCode::unavailable, "{}: tensor {}: there are no weights here", config_.path(), name);
    (void)info(name);  // throws not_found with near misses
    return {};
  }
  if (!e->has_bytes) fail(ErrorCode::unavailable, "tensor {}: only its shape is known", name);
  return e->bytes;
}

// action(file, begin, end) for each tensor below `prefix`.
template <typename Action>
void MappedCheckpoint::for_file_ranges(std::string_view prefix, Action&& action) const {
  const std::string start = canonical_name(format("{}.", prefix));
  for (auto it = entries_.lower_bound(start); it != entries_.end() && it->first.starts_with(start);
       ++it) {
    const std::span<const std::byte> part = it->second.bytes;
    for (const MappedFile& file : files_) {
      const std::span<const std::byte> whole = file.bytes();
      if (std::less<>()(part.data(), whole.data()) ||
          !std::less<>()(part.data(), whole.data() + whole.size()))
        continue;
      const auto begin = static_cast<size_t>(part.data() - whole.data());
      action(file, begin, begin + part.size());
      break;
    }
  }
}

void MappedCheckpoint::read_ahead(std::string_view prefix) const {
  for_file_ranges(prefix, [](const MappedFile& file, size_t begin, size_t end) {
    file.read_ahead(begin, end);
  });
}

void MappedCheckpoint::give_back(std::string_view prefix) const {
  for_file_ranges(
      prefix, [](const MappedFile& file, size_t begin, size_t end) { file.give_back(begin, end); });
}

}  // namespace quern

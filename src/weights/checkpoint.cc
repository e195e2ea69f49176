// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "weights/config_aliases.h"
#include "weights/gguf.h"
#include "weights/mapped_checkpoint.h"
#include "weights/onnx_file.h"
#include "weights/quantization_config.h"
#include "weights/renamed_checkpoint.h"
#include "weights/safetensors.h"
#include "weights/stored.h"
#include "weights/torch_file.h"

namespace quern {
namespace {

size_t shared_ends(std::string_view a, std::string_view b) {
  const auto front = std::ranges::mismatch(a, b).in1 - a.begin();
  const auto back = std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend()).first - a.rbegin();
  return static_cast<size_t>(front + back);
}

// Up to three names that share the longest beginning and end with `name`.
std::string near_misses(const Checkpoint& checkpoint, std::string_view name) {
  std::vector<std::string> names = checkpoint.names();
  const auto count = static_cast<std::ptrdiff_t>(std::min<size_t>(3, names.size()));
  std::ranges::partial_sort(
      names, names.begin() + count, std::greater<>(), [&](const std::string& other) {
        return shared_ends(name, other);
      });
  return fmt::format("{}", fmt::join(names.begin(), names.begin() + count, ", "));
}

bool is_aligned(const std::byte* data, DType dtype) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(std::max(bits_of(dtype) / 8, 1)) ==
         0;
}

Tensor copy_rows(const TensorInfo& info, std::span<const std::byte> bytes, DType dtype) {
  Tensor out = Tensor::empty(info.shape, dtype);
  if (info.row_order.empty()) {
    if (!bytes.empty()) std::memcpy(out.raw(), bytes.data(), bytes.size());
    return out;
  }
  // The stored bytes may hold rows of other tensors too.
  const auto row_bytes =
      static_cast<size_t>(bytes_of(dtype, info.shape.numel())) / info.row_order.size();
  for (size_t r = 0; r < info.row_order.size(); ++r)
    std::memcpy(out.raw() + r * row_bytes,
                bytes.data() + static_cast<size_t>(info.row_order[r]) * row_bytes,
                row_bytes);
  return out;
}

}  // namespace

const TensorInfo& Checkpoint::info(std::string_view name) const {
  if (const TensorInfo* found = find(name)) return *found;
  fail(ErrorCode::not_found,
       "{}: no tensor {}; nearest names: {}",
       config().path(),
       name,
       near_misses(*this, name));
}

const QuantizationConfig& Checkpoint::quantization() const {
  std::call_once(quantization_once_,
                 [this] { quantization_ = std::make_shared<const QuantizationConfig>(config()); });
  return *quantization_;
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path) {
  return open_checkpoint(path, "");
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path,
                                            const std::string& names_file) {
  if (is_directory(path))
    return with_published_names(open_safetensors_folder(path), path, names_file);
  if (!names_file.empty() && file_exists(path))
    fail(ErrorCode::unsupported,
         "{}: a file of tensor names goes with a folder that has a config.json",
         path);
  if (path.ends_with(".gguf")) return open_gguf(path);
  if (path.ends_with(".safetensors")) return open_safetensors_file(path);
  if (path.ends_with(".pt") || path.ends_with(".pth")) return open_torch_file(path);
  if (path.ends_with(".onnx")) return std::make_unique<OnnxFile>(path);
  if (!file_exists(path)) fail(ErrorCode::not_found, "{}: no such file or folder", path);
  fail(ErrorCode::unsupported,
       "{}: expected a folder with config.json and safetensors files, or a .gguf, .safetensors, "
       ".pt or "
       ".onnx file",
       path);
}

std::unique_ptr<Checkpoint> shapes_only_checkpoint(Config config, std::vector<TensorInfo> tensors) {
  auto out = std::make_unique<MappedCheckpoint>(with_published_keys(config));
  for (TensorInfo& info : tensors) out->add_shape(std::move(info));
  return out;
}

Tensor read_tensor(const Checkpoint& checkpoint, std::string_view name, Device device) {
  const TensorInfo& info = checkpoint.info(name);
  const std::optional<DType> dtype = dtype_of(info.stored);
  if (!dtype)
    fail(ErrorCode::unsupported,
         "tensor {}: stored as {} blocks, expected plain elements",
         name,
         name_of(info.stored));
  if (device.is_meta()) return Tensor::empty(info.shape, *dtype, device);
  const std::span<const std::byte> bytes = checkpoint.bytes(name);
  if (info.row_order.empty() && is_aligned(bytes.data(), *dtype))
    return Tensor::borrow(bytes.data(), info.shape, *dtype);
  return copy_rows(info, bytes, *dtype);
}

Tensor read_f32(const Checkpoint& checkpoint, std::string_view name, Device device) {
  if (device.is_meta()) return Tensor::empty(checkpoint.info(name).shape, DType::f32, device);
  return to_f32(read_tensor(checkpoint, name));
}

}  // namespace quern

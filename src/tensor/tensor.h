// SPDX-License-Identifier: Apache-2.0
// Tensor: dtype, shape, strides and a counted reference to storage on one device. Copying is cheap
// and shares.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/error.h"
#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace quern {

// Bytes on a device. `data` is null on meta. Freed by the deleter of its shared_ptr (heap, arena,
// mapped file, …).
struct Storage {
  std::byte* data = nullptr;
  int64_t bytes = 0;
  Device device;
};

class Tensor {
 public:
  Tensor() = default;  // no storage; defined() is false

  // Uninitialised, contiguous, 64-byte aligned (large CPU tensors in huge pages where the system
  // gives them). Throws exhausted if memory is short. Ops take their outputs from Ctx::empty
  // instead.
  static Tensor empty(const Shape& shape, DType dtype, Device device = Device::cpu());
  static Tensor zeros(const Shape& shape, DType dtype, Device device = Device::cpu());
  // Shares `storage` from byte `offset` on. Contiguous.
  static Tensor over(std::shared_ptr<Storage> storage,
                     int64_t offset,
                     const Shape& shape,
                     DType dtype);
  // Reads memory that somebody else owns and keeps alive longer (a mapped file). Contiguous; never
  // written to.
  static Tensor borrow(const void* data, const Shape& shape, DType dtype);
  // Copies values into a new float32 / int32 CPU tensor of this shape.
  static Tensor from(std::span<const float> values, const Shape& shape);

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t stride(int axis) const { return strides_[axis]; }  // in elements
  int64_t numel() const { return shape_.numel(); }
  int64_t bytes() const { return bytes_of(dtype_, numel()); }
  Device device() const { return storage_ ? storage_->device : Device{}; }
  bool is_contiguous() const;

  // The first element; null on meta. T is not checked against sub-byte kinds.
  template <typename T>
  T* data() const {
    return reinterpret_cast<T*>(raw());
  }
  std::byte* raw() const {
    return storage_ && storage_->data ? storage_->data + byte_offset_ : nullptr;
  }
  // All elements of a contiguous CPU tensor.
  template <typename T>
  std::span<T> span() const {
    QUERN_CHECK(is_contiguous() && sizeof(T) * 8 == static_cast<size_t>(bits_of(dtype_)),
                "{}",
                shape_.text());
    return {data<T>(), static_cast<size_t>(numel())};
  }

  // Views that share storage.
  Tensor slice(int axis, int64_t begin, int64_t end) const;  // half-open
  Tensor select(int axis, int64_t index) const;              // drops the axis
  Tensor reshape(const Shape& shape) const;                  // contiguous only; same numel
  // [rows, size] over a contiguous tensor: row r is the `size` elements from r * step on. Rows may
  // overlap: for reading alone.
  Tensor windows(int64_t rows, int64_t size, int64_t step) const;
  // A contiguous copy on the same device (or itself, if contiguous already).
  Tensor contiguous() const;

 private:
  std::shared_ptr<Storage> storage_;
  int64_t byte_offset_ = 0;
  DType dtype_ = DType::f32;
  Shape shape_, strides_;
};

// Converts a contiguous CPU tensor of any float or integer kind of at least 8 bits to float32
// values.
Tensor to_f32(const Tensor& t);

}  // namespace quern

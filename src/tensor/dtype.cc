// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include "tensor/device.h"

#include "base/format.h"

namespace quern {

int bits_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 64;
    case DType::f32:
    case DType::i32:
      return 32;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 16;
    case DType::f8_e4m3:
    case DType::f8_e5m2:
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 8;
    case DType::i4:
    case DType::u4:
      return 4;
  }
  return 8;
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "f64";
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::f8_e4m3:
      return "f8_e4m3";
    case DType::f8_e5m2:
      return "f8_e5m2";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::i16:
      return "i16";
    case DType::i8:
      return "i8";
    case DType::u8:
      return "u8";
    case DType::i4:
      return "i4";
    case DType::u4:
      return "u4";
    case DType::boolean:
      return "bool";
  }
  return "?";
}

std::string Device::text() const {
  switch (kind) {
    case DeviceKind::cpu:
      return "cpu";
    case DeviceKind::cuda:
      return format("cuda:{}", index);
    case DeviceKind::meta:
      return "meta";
  }
  return "?";
}

}  // namespace quern

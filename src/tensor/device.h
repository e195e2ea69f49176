// SPDX-License-Identifier: Apache-2.0
// Where a tensor lives. `meta` has shapes and no bytes.
#pragma once

#include <cstdint>
#include <string>

namespace quern {

enum class DeviceKind : uint8_t { cpu, cuda, meta };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;

  static constexpr Device cpu() { return {DeviceKind::cpu, 0}; }
  static constexpr Device meta() { return {DeviceKind::meta, 0}; }
  bool is_meta() const { return kind == DeviceKind::meta; }
  bool operator==(const Device&) const = default;
  std::string text() const;  // "cpu", "cuda:1", "meta"
};

// An order of execution on a device; null on the CPU, where an op has finished when its function
// returns.
struct Stream {
  void* handle = nullptr;
};

}  // namespace quern

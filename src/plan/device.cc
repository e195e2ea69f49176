// SPDX-License-Identifier: Apache-2.0
#include "plan/device.h"

#include <array>
#include <charconv>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;
constexpr double kGb = 1e9, kTera = 1e12, kMicro = 1e-6;

// Memory, bandwidth and dense bf16 rate of the makers' data sheets; PCIe 4.0 x16 or NVLink, one
// way.
const std::array kPresets = {
    DeviceModel{"rtx3090", 1, 24 * kGib, 936 * kGb, 71 * kTera, 25 * kGb, 20 * kMicro},
    DeviceModel{"rtx4090", 1, 24 * kGib, 1008 * kGb, 165 * kTera, 25 * kGb, 20 * kMicro},
    DeviceModel{"l40s", 1, 48 * kGib, 864 * kGb, 362 * kTera, 25 * kGb, 20 * kMicro},
    DeviceModel{"a100-40g", 1, 40 * kGib, 1555 * kGb, 312 * kTera, 300 * kGb, 10 * kMicro},
    DeviceModel{"a100-80g", 1, 80 * kGib, 2039 * kGb, 312 * kTera, 300 * kGb, 10 * kMicro},
    DeviceModel{"h100", 1, 80 * kGib, 3350 * kGb, 989 * kTera, 450 * kGb, 8 * kMicro},
    DeviceModel{"h200", 1, 141 * kGib, 4800 * kGb, 989 * kTera, 450 * kGb, 8 * kMicro},
};

}  // namespace

std::span<const DeviceModel> device_presets() {
  return kPresets;
}

DeviceModel parse_device(std::string_view text) {
  int count = 1;
  std::string_view name = text;
  if (const size_t x = text.find('x'); x != std::string_view::npos) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + x, count);
    if (error == std::errc() && end == text.data() + x) {
      name = text.substr(x + 1);
      name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
    }
  }
  std::string known;
  for (const DeviceModel& preset : kPresets) {
    known += (known.empty() ? "" : ", ") + preset.name;
    if (preset.name != name) continue;
    if (count < 1 || count > 64)
      fail(ErrorCode::invalid_argument, "device {}: expected 1 to 64 of them", text);
    DeviceModel out = preset;
    out.count = count;
    return out;
  }
  fail(ErrorCode::invalid_argument,
       "device {}: expected [N x] one of {}, cpu, or numbers by --device-memory, "
       "--device-bandwidth, --device-flops",
       text,
       known);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// DeviceModel: what a plan assumes of the devices that ranks run on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quern {

struct DeviceModel {
  std::string name;  // "rtx3090"
  int count = 1;
  int64_t memory_bytes = 0;     // of each; of all where it is shared
  double bytes_per_s = 0;       // read from its memory
  double flops_per_s = 0;       // of 16-bit products, dense
  double link_bytes_per_s = 0;  // between two of them, one way
  double link_latency_s = 0;    // of one small sum over all of them
  double disk_bytes_per_s = 0;  // at which experts in the file are read and packed, by all ranks
  // Ranks on the cores of one machine: each takes of its memory in proportion to its weights, as
  // `serve` deals it.
  bool is_shared = false;
};

// What makers state; links as the cards are usually joined.
std::span<const DeviceModel> device_presets();

// "2x rtx3090", "rtx3090", "4x a100-80g". Throws invalid_argument naming the presets.
DeviceModel parse_device(std::string_view text);

}  // namespace quern

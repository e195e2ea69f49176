// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: either a header whose tensors lie inside the file, or an Error.
#include <cstdlib>

#include "base/error.h"
#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  try {
    const auto header = parse_safetensors_header(std::as_bytes(std::span(data, size)), "input");
    for (const SafetensorsEntry& entry : header.entries)
      if (entry.begin > entry.end || entry.end > size) std::abort();
  } catch (const Error&) {
  }
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Any text as a flow/config.yaml: two rates that can be reckoned with, or an Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "models/glm_tts/flow_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  try {
    const FlowConfig config = FlowConfig::from_yaml(
        std::string_view(reinterpret_cast<const char*>(data), size), "config.yaml");
    const int64_t frames = config.frames(1000);
    if (frames < 5 || frames > 100'000'000) std::abort();
  } catch (const Error&) {
  }
  return 0;
}

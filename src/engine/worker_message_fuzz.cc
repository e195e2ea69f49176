// SPDX-License-Identifier: Apache-2.0
// Messages between front and workers, damaged: they end in a value or in an Error, and ask for no
// more memory than they bring.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "engine/worker_message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  try {
    const WorkerMessage message = unpack({reinterpret_cast<const char*>(data), size});
    if (message.kind == MessageKind::plan) StepPlan::parse(message.body);
    if (message.kind == MessageKind::result) parse_result(message.body);
    if (message.kind == MessageKind::error) parse_failure(message.body);
    if (message.kind == MessageKind::pong) parse_pulse(message.body);
  } catch (const Error&) {
  }
  return 0;
}

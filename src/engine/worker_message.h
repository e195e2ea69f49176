// SPDX-License-Identifier: Apache-2.0
// What front and worker say to each other: one kind byte, then a body. All bytes are checked when
// they are read, though both sides are of one build: the network lies between them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/step_plan.h"

namespace quern {

enum class MessageKind : uint8_t {
  setup,   // both ways, until the worker is ready: text of those who build workers
  plan,    // to the worker: StepPlan::serialize
  ping,    // to the worker: nothing
  result,  // from it: StepResult, without logits on all ranks but the one that answers
  error,   // from it: WorkerFailure
  pong,    // from it: WorkerPulse
};

struct WorkerMessage {
  MessageKind kind = MessageKind::ping;
  std::string_view body;
};

// An exception of a worker. It lives on.
struct WorkerFailure {
  uint64_t step = 0;  // 0: before the first
  ErrorCode code = ErrorCode::internal;
  std::string text;
};

struct WorkerPulse {
  uint64_t progress = 0;     // rises whenever the computing thread gets further
  int64_t memory_bytes = 0;  // see WorkerReport
};

std::string pack(MessageKind kind, std::string_view body = {});
std::string pack(const StepResult& result);
std::string pack(const WorkerFailure& failure);
std::string pack(const WorkerPulse& pulse);

// They throw data_loss on anything malformed. `unpack` returns a view into `bytes`.
WorkerMessage unpack(std::string_view bytes);
StepResult parse_result(std::string_view body);
WorkerFailure parse_failure(std::string_view body);
WorkerPulse parse_pulse(std::string_view body);

}  // namespace quern

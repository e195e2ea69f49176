// SPDX-License-Identifier: Apache-2.0
#include "engine/worker_message.h"

#include "engine/plan_bytes.h"

namespace quern {
namespace {

constexpr size_t kMaxText = 64 << 10;

std::string with_kind(MessageKind kind, PlanWriter& body) {
  return pack(kind, body.take());
}

}  // namespace

std::string pack(MessageKind kind, std::string_view body) {
  std::string out(1, static_cast<char>(kind));
  return out.append(body);
}

std::string pack(const StepResult& result) {
  PlanWriter out;
  out.put(result.epoch);
  out.put(result.step);
  out.put(result.row_size);
  out.put(result.encode_us);
  out.put_array(result.rows);
  return with_kind(MessageKind::result, out);
}

std::string pack(const WorkerFailure& failure) {
  PlanWriter out;
  out.put(failure.step);
  out.put(static_cast<uint8_t>(failure.code));
  const std::string_view text = std::string_view(failure.text).substr(0, kMaxText);
  out.put_array(std::vector<char>(text.begin(), text.end()));
  return with_kind(MessageKind::error, out);
}

std::string pack(const WorkerPulse& pulse) {
  PlanWriter out;
  out.put(pulse.progress);
  out.put(pulse.memory_bytes);
  return with_kind(MessageKind::pong, out);
}

WorkerMessage unpack(std::string_view bytes) {
  if (bytes.empty() || static_cast<uint8_t>(bytes[0]) > static_cast<uint8_t>(MessageKind::pong))
    fail(ErrorCode::data_loss, "worker message: of no known kind");
  return {static_cast<MessageKind>(bytes[0]), bytes.substr(1)};
}

StepResult parse_result(std::string_view body) {
  PlanReader in(body, "step result");
  StepResult result;
  result.epoch = in.get<uint64_t>();
  result.step = in.get<uint64_t>();
  result.row_size = in.get<int64_t>();
  result.encode_us = in.get<int64_t>();
  result.rows = in.get_array<float>();
  in.expect_end();
  return result;
}

WorkerFailure parse_failure(std::string_view body) {
  PlanReader in(body, "worker failure");
  WorkerFailure failure;
  failure.step = in.get<uint64_t>();
  const auto code = in.get<uint8_t>();
  if (code > static_cast<uint8_t>(ErrorCode::internal))
    fail(ErrorCode::data_loss, "worker failure: error code {}", code);
  failure.code = static_cast<ErrorCode>(code);
  const std::vector<char> text = in.get_array<char>();
  failure.text.assign(text.begin(), text.end());
  in.expect_end();
  return failure;
}

WorkerPulse parse_pulse(std::string_view body) {
  PlanReader in(body, "worker pulse");
  WorkerPulse pulse;
  pulse.progress = in.get<uint64_t>();
  pulse.memory_bytes = in.get<int64_t>();
  in.expect_end();
  return pulse;
}

}  // namespace quern

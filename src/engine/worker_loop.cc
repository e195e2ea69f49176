// SPDX-License-Identifier: Apache-2.0
#include "engine/worker_loop.h"

#include <span>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/topology.h"

namespace quern {
namespace {

constexpr int kLookMs = 200;  // how long the end of the loop may wait for its listener

}  // namespace

WorkerLoop::WorkerLoop(MessagePort& port, std::function<void()> on_end)
    : port_(port),
      on_end_(std::move(on_end)),
      empty_bytes_(resident_bytes()),
      listener_([this] { listen(); }) {}

WorkerLoop::~WorkerLoop() {
  should_stop_ = true;
  listener_.join();
}

void WorkerLoop::listen() {
  try {
    for (std::string bytes; !should_stop_;)
      if (port_.receive(bytes, kLookMs)) take(bytes);
    return;
  } catch (const std::exception& e) {
    log(LogLevel::debug, "worker ends: {}", e.what());
  }
  {
    const std::lock_guard lock(mutex_);
    is_gone_ = true;
  }
  changed_.notify_all();
  on_end_();
}

void WorkerLoop::take(std::string_view bytes) {
  const WorkerMessage message = unpack(bytes);
  if (message.kind == MessageKind::ping) {
    send(pack(WorkerPulse{progress_, resident_bytes() - empty_bytes_}));
    return;
  }
  if (message.kind != MessageKind::setup && message.kind != MessageKind::plan)
    fail(ErrorCode::data_loss, "worker: a message that only workers send");
  {
    const std::lock_guard lock(mutex_);
    (message.kind == MessageKind::setup ? setups_ : plans_).emplace_back(message.body);
  }
  changed_.notify_all();
}

void WorkerLoop::send(std::string_view message) {
  const std::lock_guard lock(sending_);
  port_.send(message);
}

std::string WorkerLoop::next(std::deque<std::string>& queue) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_gone_ || !queue.empty(); });
  if (is_gone_) fail(ErrorCode::unavailable, "worker: the front is gone");
  std::string out = std::move(queue.front());
  queue.pop_front();
  return out;
}

std::string WorkerLoop::next_setup() {
  return next(setups_);
}

void WorkerLoop::answer(std::string_view setup) {
  send(pack(MessageKind::setup, setup));
}

void WorkerLoop::refuse(const Error& error) {
  send(pack(WorkerFailure{0, error.code(), error.what()}));
}

void WorkerLoop::serve(StepRunner& runner) {
  try {
    for (;;) send(carry_out(runner, next(plans_)));
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) throw;
  }
}

std::string WorkerLoop::carry_out(StepRunner& runner, std::string_view bytes) {
  StepPlan plan = StepPlan::parse(bytes);
  const uint64_t step = plan.step;
  ++progress_;
  try {
    return pack(runner.run(plan));
  } catch (...) {
    const Error error = step_error(std::current_exception());
    return pack(WorkerFailure{step, error.code(), error.what()});
  }
}

void meet_all(Communicator& ranks, std::string_view group) {
  const int self = ranks.rank();
  for (int low = 0; low < ranks.size(); ++low)
    for (int high = low + 1; high < ranks.size(); ++high) {
      if (self != low && self != high) continue;
      const int other = self == low ? high : low;
      const auto mine = static_cast<float>(self);
      float theirs = -1;
      try {
        if (self == low) ranks.send(other, std::span(&mine, 1));
        ranks.receive(other, std::span(&theirs, 1));
        if (self == high) ranks.send(other, std::span(&mine, 1));
      } catch (const Error& e) {
        fail(ErrorCode::unavailable,
             "{} {} and {} cannot talk to each other: {}",
             group,
             low,
             high,
             e.what());
      }
      if (theirs != static_cast<float>(other))
        fail(ErrorCode::unavailable,
             "{} {} and {} cannot talk to each other: expected word {}, got {}",
             group,
             low,
             high,
             other,
             theirs);
    }
  ranks.barrier();
}

}  // namespace quern

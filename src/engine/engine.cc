// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <thread>

#include "base/error.h"
#include "engine/admission.h"
#include "engine/engine_loop.h"
#include "engine/inbox.h"
#include "engine/request_book.h"
#include "engine/workforce.h"

namespace quern {
namespace {

EngineConfig validated(EngineConfig config) {
  config.validate();
  return config;
}

}  // namespace

struct Engine::State {
  State(EngineConfig c, ExecutorFactory make, const Clock& clk)
      : config(validated(std::move(c))),
        clock(clk),
        inbox(std::make_shared<Inbox>()),
        workforce(std::move(make), clk, [box = inbox] { box->ring(); }),
        loop(config, workforce, *inbox, book, clk),
        thread([this] { loop.run(); }) {}

  const EngineConfig config;
  const Clock& clock;
  const std::shared_ptr<Inbox> inbox;  // streams ring it, and may outlive the engine
  RequestBook book;
  Workforce workforce;
  EngineLoop loop;
  std::thread thread;  // last: it uses all of the above
};

Engine::Engine(EngineConfig config, ExecutorFactory make_executor, const Clock& clock)
    : state_(std::make_unique<State>(std::move(config), std::move(make_executor), clock)) {}

Engine::~Engine() {
  state_->loop.stop();
  state_->thread.join();
}

std::shared_ptr<EventStream> Engine::submit(Request request) {
  if (!is_healthy())
    fail(ErrorCode::unavailable, "engine: its workers are lost; restart the server");
  if (is_stalled())
    fail(ErrorCode::unavailable, "engine: a step does not return; nothing is taken until it does");
  check_admissible(request, state_->config);
  if (request.deadline_us == 0 && state_->config.request_timeout_us > 0)
    request.deadline_us = state_->clock.now_us() + state_->config.request_timeout_us;
  state_->book.enter(request.id, state_->config.max_queue);
  auto stream = std::make_shared<EventStream>();
  stream->set_on_room([inbox = state_->inbox] { inbox->ring(); });
  state_->inbox->submit({std::move(request), stream});
  return stream;
}

void Engine::cancel(const std::string& id) {
  state_->inbox->cancel(id);
}

EngineStats Engine::stats() const {
  EngineStats stats = state_->book.snapshot(state_->clock.now_us());
  state_->workforce.report(stats);
  return stats;
}

const EngineConfig& Engine::config() const {
  return state_->config;
}

bool Engine::is_healthy() const {
  return state_->workforce.is_healthy();
}

bool Engine::is_recovering() const {
  return state_->workforce.is_recovering();
}

bool Engine::is_stalled() const {
  return state_->loop.is_stalled();
}

}  // namespace quern

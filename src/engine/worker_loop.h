// SPDX-License-Identifier: Apache-2.0
// WorkerLoop: the worker's side of the talk. One thread listens and answers pings at any time, so
// that a stopped process is told from a busy one; the thread that made the loop does the work.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "comm/communicator.h"
#include "engine/message_port.h"
#include "engine/step_runner.h"
#include "engine/worker_message.h"

namespace quern {

class WorkerLoop {
 public:
  // `port` must outlive the loop. `on_end` is called by the listening thread once the front is
  // gone: a process ends there, whatever its computing thread waits for.
  WorkerLoop(MessagePort& port, std::function<void()> on_end);
  ~WorkerLoop();

  // The next set-up text of the front; waits for it. Throws unavailable when the front is gone.
  std::string next_setup();
  void answer(std::string_view setup);
  void refuse(const Error& error);  // what keeps this worker from getting ready

  // Carries plans out until the front is gone.
  void serve(StepRunner& runner);

  // To be raised by whoever computes.
  std::atomic<uint64_t>& progress() { return progress_; }

 private:
  void listen();
  void take(std::string_view bytes);
  void send(std::string_view message);
  std::string next(std::deque<std::string>& queue);
  std::string carry_out(StepRunner& runner, std::string_view bytes);

  MessagePort& port_;
  const std::function<void()> on_end_;
  const int64_t empty_bytes_;  // of this process before it loaded anything
  std::mutex sending_, mutex_;
  std::condition_variable changed_;
  std::deque<std::string> setups_, plans_;
  bool is_gone_ = false;
  std::atomic<bool> should_stop_ = false;
  std::atomic<uint64_t> progress_ = 0;
  std::thread listener_;  // last: it uses all of the above
};

// Raises a counter with each operation that has ended: how a front sees that a step gets further.
class CountingCommunicator final : public Communicator {
 public:
  CountingCommunicator(Communicator& inner, std::atomic<uint64_t>& count)
      : inner_(inner), count_(count) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void all_reduce_sum(std::span<float> values) override {
    inner_.all_reduce_sum(values);
    ++count_;
  }
  void all_reduce_max(std::span<float> values) override {
    inner_.all_reduce_max(values);
    ++count_;
  }
  void gather(std::span<const float> own,
              std::span<const int64_t> counts,
              std::span<float> all) override {
    inner_.gather(own, counts, all);
    ++count_;
  }
  void send(int to, std::span<const float> values) override {
    inner_.send(to, values);
    ++count_;
  }
  void receive(int from, std::span<float> values) override {
    inner_.receive(from, values);
    ++count_;
  }
  void barrier() override {
    inner_.barrier();
    ++count_;
  }

 private:
  Communicator& inner_;
  std::atomic<uint64_t>& count_;
};

// Lets every pair of the group exchange a word, before anything costly is done. Throws unavailable
// naming the pair that cannot talk; `group` is what it is called in that message.
void meet_all(Communicator& ranks, std::string_view group);

}  // namespace quern

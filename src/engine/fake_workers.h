// SPDX-License-Identifier: Apache-2.0
// Workers that are threads of a test, behind the ports that processes have, and that fail in every
// way that processes do.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/fake_model.h"
#include "engine/group_executor.h"
#include "engine/worker_loop.h"

namespace quern {

// Both directions between two ports.
struct FakeWire {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> to[2];
  bool is_closed = false;

  void close() {
    {
      const std::lock_guard lock(mutex);
      is_closed = true;
    }
    changed.notify_all();
  }
  void send(int side, std::string_view message) {
    {
      const std::lock_guard lock(mutex);
      if (is_closed) fail(ErrorCode::unavailable, "the wire is cut");
      to[side].emplace_back(message);
    }
    changed.notify_all();
  }
  bool receive(int side, std::string& message, int timeout_ms) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] {
      return is_closed || !to[side].empty();
    });
    if (!to[side].empty()) {
      message = std::move(to[side].front());
      to[side].pop_front();
      return true;
    }
    if (is_closed) fail(ErrorCode::unavailable, "the wire is cut");
    return false;
  }
};

class FakePort final : public MessagePort {
 public:
  FakePort(std::shared_ptr<FakeWire> wire, int side) : wire_(std::move(wire)), side_(side) {}
  void send(std::string_view message) override { wire_->send(1 - side_, message); }
  bool receive(std::string& message, int timeout_ms) override {
    return wire_->receive(side_, message, timeout_ms);
  }

 private:
  std::shared_ptr<FakeWire> wire_;
  int side_;
};

// One rank: a thread that answers its set-up with "ready" (or throws what `refuses` holds) and then
// runs plans on a FakeModel. `is_deaf`: it answers nothing, as a stopped process does.
class FakeWorker {
 public:
  explicit FakeWorker(int64_t num_blocks, int block_size)
      : num_blocks_(num_blocks), block_size_(block_size) {}
  ~FakeWorker() { join(); }

  void start() {
    thread_ = std::thread([this] { run(); });
  }
  void join() {
    wire->close();
    if (thread_.joinable()) thread_.join();
  }

  std::shared_ptr<FakeWire> wire = std::make_shared<FakeWire>();
  std::shared_ptr<FakeModel> model = std::make_shared<FakeModel>();
  std::optional<Error> refuses;
  bool is_deaf = false;

 private:
  void run() {
    if (is_deaf) return;
    FakePort port(wire, 1);
    WorkerLoop loop(port, [] {});
    try {
      loop.next_setup();
      if (refuses) return loop.refuse(*refuses);
      loop.answer("ready");
      Arena arena(Device::cpu(), 1 << 20);
      Ctx ctx;
      ctx.device = Device::cpu();
      ctx.arena = &arena;
      auto kv =
          std::make_shared<KvCache>(model->kv_spec(), num_blocks_, block_size_, Device::cpu());
      StepRunner runner({model, ctx, std::move(kv)});
      loop.serve(runner);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::unavailable) << e.what();
    }
  }

  const int64_t num_blocks_;
  const int block_size_;
  std::thread thread_;
};

class FakeHandle final : public WorkerHandle {
 public:
  FakeHandle(std::shared_ptr<FakeWorker> worker, int rank)
      : worker_(std::move(worker)), port_(worker_->wire, 0), rank_(rank) {}
  ~FakeHandle() override { worker_->join(); }
  void send(std::string_view message) override { port_.send(message); }
  bool receive(std::string& message, int timeout_ms) override {
    return port_.receive(message, timeout_ms);
  }
  std::string place() const override { return format("thread {}", rank_); }
  std::string end() override {
    worker_->wire->close();
    return "its wire was cut";
  }

 private:
  std::shared_ptr<FakeWorker> worker_;
  FakePort port_;
  int rank_;
};

// A group of fake workers; those of the latest epoch can be reached by rank.
class FakeCrew {
 public:
  explicit FakeCrew(int size, int64_t num_blocks = 400, int block_size = 4)
      : size_(size), num_blocks_(num_blocks), block_size_(block_size) {}

  // `prepare`, if set, sees each worker before it starts.
  std::unique_ptr<GroupExecutor> hire(GroupOptions options = {.epoch = 1}) {
    std::vector<std::unique_ptr<WorkerHandle>> handles;
    const std::lock_guard lock(mutex_);
    workers_.clear();
    for (int rank = 0; rank < size_; ++rank) {
      workers_.push_back(std::make_shared<FakeWorker>(num_blocks_, block_size_));
      if (prepare) prepare(rank, *workers_.back());
      workers_.back()->start();
      handles.push_back(std::make_unique<FakeHandle>(workers_.back(), rank));
    }
    return std::make_unique<GroupExecutor>(std::move(handles), options);
  }
  std::unique_ptr<GroupExecutor> hire_ready(GroupOptions options = {.epoch = 1}) {
    auto group = hire(options);
    group->ask(std::vector<std::string>(static_cast<size_t>(size_), "job"), 10'000);
    return group;
  }
  std::shared_ptr<FakeWorker> worker(int rank) {
    const std::lock_guard lock(mutex_);
    return workers_.at(static_cast<size_t>(rank));
  }

  std::function<void(int rank, FakeWorker& worker)> prepare;

 private:
  const int size_;
  const int64_t num_blocks_;
  const int block_size_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<FakeWorker>> workers_;
};

}  // namespace quern

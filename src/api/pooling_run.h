// SPDX-License-Identifier: Apache-2.0
// PoolingRun: the prompts of one PoolingJob under way. Some hundreds of them are with the engine at
// one time, so that one request of thousands does not fill its queue.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/pooling_job.h"
#include "api/service.h"

namespace quern {

class PoolingRun {
 public:
  static constexpr size_t kMostUnderWay = 256;

  // `id` names the request in logs and must be unique among those running. `service` and `job` must
  // outlive this. `notify` is called from the engine's thread whenever poll may have news.
  PoolingRun(Service& service,
             std::string id,
             const PoolingJob& job,
             std::function<void()> notify = {});
  // Cancels what still runs.
  ~PoolingRun();
  PoolingRun(const PoolingRun&) = delete;
  PoolingRun& operator=(const PoolingRun&) = delete;

  // Takes what has come and submits what there is room for; does not wait. Throws RequestError for
  // a prompt that failed, and what Service::submit throws, a full queue only while nothing of this
  // request is in it.
  void poll();
  bool is_finished() const { return done_ == vectors_.size(); }

  size_t done() const { return done_; }
  const Usage& usage() const { return usage_; }
  std::vector<Vector> take() { return std::move(vectors_); }

 private:
  struct Part {
    size_t index;
    std::string id;
    std::shared_ptr<EventStream> stream;
  };
  bool submit_next();
  void submit(size_t index);
  bool drain(Part& part);

  Service& service_;
  const std::string id_;
  const PoolingJob& job_;
  std::function<void()> notify_;
  std::vector<Part> parts_;  // under way
  std::vector<Vector> vectors_;
  size_t next_ = 0, done_ = 0;
  Usage usage_;
};

}  // namespace quern

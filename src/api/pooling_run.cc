// SPDX-License-Identifier: Apache-2.0
#include "api/pooling_run.h"

#include <algorithm>

#include "api/failed_event.h"

namespace quern {
PoolingRun::PoolingRun(Service& service,
                       std::string id,
                       const PoolingJob& job,
                       std::function<void()> notify)
    : service_(service),
      id_(std::move(id)),
      job_(job),
      notify_(std::move(notify)),
      vectors_(job.prompts.size()) {}

PoolingRun::~PoolingRun() {
  for (Part& part : parts_) {
    part.stream->set_notify(nullptr);
    service_.cancel(part.id);
  }
}

void PoolingRun::submit(size_t index) {
  Request request;
  request.id = format("{}-{}", id_, index);
  request.prompt = job_.prompts[index];
  request.params.max_tokens = 0;
  request.priority = job_.submitted.priority;
  request.cache_salt = job_.submitted.cache_salt;
  const std::string id = request.id;
  parts_.push_back({index, id, service_.submit(std::move(request))});
  // What came before this is found by the next look.
  parts_.back().stream->set_notify(notify_);
}

// False if there is none, or no room.
bool PoolingRun::submit_next() {
  if (next_ == vectors_.size() || parts_.size() >= kMostUnderWay) return false;
  try {
    submit(next_);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::exhausted || parts_.empty()) throw;
    return false;
  }
  ++next_;
  return true;
}

// True once its answer has come.
bool PoolingRun::drain(Part& part) {
  // Asked first: what came before the end is still taken.
  const bool is_last = part.stream->is_finished();
  TokenEvent event;
  if (!part.stream->try_pop(event)) {
    if (!is_last) return false;
    throw RequestError(
        ErrorCode::unavailable, "", "the engine broke off this request; try again", "unavailable");
  }
  if (event.finish != FinishReason::stop) fail_as(event);
  vectors_[part.index] = std::move(event.pooled);
  usage_.prompt_tokens += static_cast<int64_t>(job_.prompts[part.index]->ids.size());
  usage_.cached_tokens += event.cached_tokens;
  ++done_;
  return true;
}

void PoolingRun::poll() {
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    while (submit_next()) has_changed = true;
    for (size_t i = 0; i < parts_.size();) {
      if (!drain(parts_[i])) {
        ++i;
        continue;
      }
      has_changed = true;
      std::swap(parts_[i], parts_.back());
      parts_.pop_back();
    }
  }
}

}  // namespace quern

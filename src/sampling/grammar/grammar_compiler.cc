// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/grammar_compiler.h"

#include <condition_variable>
#include <deque>
#include <future>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "sampling/grammar/backend.h"
#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

using Clock = std::chrono::steady_clock;
using Key = std::pair<GrammarSpec::Kind, std::string>;
using Result = std::shared_future<std::shared_ptr<const Grammar>>;

Key key_of(const GrammarSpec& spec) {
  return {spec.kind, spec.text};
}

std::vector<std::string> bytes_of(const Tokenizer& tokenizer, const std::vector<int32_t>& end_ids) {
  std::vector<std::string> out(static_cast<size_t>(tokenizer.vocab_size()));
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (!tokenizer.is_special(id))
      out[static_cast<size_t>(id)] = std::string(tokenizer.token_bytes(id));
  if (end_ids.empty())
    fail(ErrorCode::invalid_argument,
         "structured output: this model names no end-of-sequence token, so no answer could end");
  return out;
}

std::vector<std::string> single_bytes() {
  std::vector<std::string> out;
  for (int byte = 0; byte < 256; ++byte) out.emplace_back(1, static_cast<char>(byte));
  out.emplace_back();
  return out;
}

constexpr size_t kMaxThreads = 3;

}  // namespace

// One thread compiles, since xgrammar cannot be interrupted. A waiter that gives up leaves it at
// its work, and another thread goes on with what waits behind it; the result is kept all the same.
struct GrammarCompiler::State {
  State(const std::vector<std::string>& vocabulary,
        const std::vector<int32_t>& end_ids,
        GrammarLimits limits_)
      : limits(limits_), backend(vocabulary, end_ids) {
    threads.emplace_back([this] { run(); });
  }

  ~State() {
    {
      const std::lock_guard lock(mutex);
      is_ending = true;
      jobs.clear();
    }
    arrived.notify_all();
    for (std::thread& thread : threads) thread.join();
  }

  struct Kept {
    Result grammar;
    size_t bytes = 0;
    std::list<Key>::iterator place;  // in `recent`, once compiled
    bool is_compiled = false, is_running = false;
  };
  struct Job {
    Key key;
    Clock::time_point deadline;
    std::promise<std::shared_ptr<const Grammar>> promise;
  };

  Result find_or_queue(const GrammarSpec& spec, Clock::time_point deadline) {
    const std::lock_guard lock(mutex);
    const auto found = kept.find(key_of(spec));
    if (found != kept.end()) {
      if (found->second.is_compiled) recent.splice(recent.begin(), recent, found->second.place);
      return found->second.grammar;
    }
    if (static_cast<int>(kept.size() - recent.size()) >= limits.max_waiting)
      fail(ErrorCode::exhausted,
           "structured output: {} constraints are already waiting to be compiled; try again",
           limits.max_waiting);
    Job job{key_of(spec), deadline, {}};
    const Result result = job.promise.get_future().share();
    kept[job.key].grammar = result;
    jobs.push_back(std::move(job));
    arrived.notify_one();
    return result;
  }

  void run() {
    for (;;) {
      std::unique_lock lock(mutex);
      arrived.wait(lock, [&] { return is_ending || !jobs.empty(); });
      if (is_ending) return;
      Job job = std::move(jobs.front());
      jobs.pop_front();
      kept.at(job.key).is_running = true;
      lock.unlock();
      compile(job);
    }
  }

  // Failures are not kept: whoever waits gets them, the next one tries again.
  void compile(Job& job) {
    try {
      if (Clock::now() > job.deadline)
        fail(ErrorCode::exhausted,
             "structured output: it waited too long behind other constraints; try again");
      const auto grammar =
          backend.compile(job.key.first, translated({job.key.first, job.key.second}));
      keep(job.key, grammar->memory_bytes() + job.key.second.size());
      job.promise.set_value(grammar);
    } catch (...) {
      {
        const std::lock_guard lock(mutex);
        kept.erase(job.key);
      }
      job.promise.set_exception(std::current_exception());
    }
  }

  // A waiter gave up on it.
  void replace_worker_of(const Key& key) {
    const std::lock_guard lock(mutex);
    const auto job = kept.find(key);
    if (job == kept.end() || !job->second.is_running || is_ending) return;
    job->second.is_running = false;  // once
    if (threads.size() < kMaxThreads) threads.emplace_back([this] { run(); });
  }

  void keep(const Key& key, size_t bytes) {
    const std::lock_guard lock(mutex);
    recent.push_front(key);
    Kept& entry = kept.at(key);
    entry.bytes = bytes;
    entry.place = recent.begin();
    entry.is_compiled = true;
    kept_bytes += bytes;
    while (kept_bytes > limits.cache_bytes && !recent.empty()) {
      const auto oldest = kept.find(recent.back());
      kept_bytes -= oldest->second.bytes;
      kept.erase(oldest);
      recent.pop_back();
    }
  }

  const GrammarLimits limits;
  const GrammarBackend backend;
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<Job> jobs;
  std::map<Key, Kept> kept;  // compiled, queued or under way
  std::list<Key> recent;     // the compiled ones, the latest used first
  size_t kept_bytes = 0;
  bool is_ending = false;
  std::vector<std::thread> threads;
};

GrammarCompiler::GrammarCompiler(const Tokenizer& tokenizer,
                                 std::vector<int32_t> end_ids,
                                 GrammarLimits limits)
    : state_(std::make_shared<State>(bytes_of(tokenizer, end_ids), end_ids, limits)) {}

GrammarCompiler::GrammarCompiler(GrammarLimits limits)
    : state_(std::make_shared<State>(single_bytes(), std::vector<int32_t>{kByteEnd}, limits)) {}

GrammarCompiler::~GrammarCompiler() = default;

std::shared_ptr<const Grammar> GrammarCompiler::compile(const GrammarSpec& spec) const {
  const GrammarLimits& limits = state_->limits;
  if (spec.text.size() > limits.max_spec_bytes)
    fail_grammar("", "{} bytes; a constraint may have {}", spec.text.size(), limits.max_spec_bytes);
  const auto deadline = Clock::now() + limits.deadline;
  const Result result = state_->find_or_queue(spec, deadline);
  if (result.wait_until(deadline) != std::future_status::ready) {
    state_->replace_worker_of(key_of(spec));
    fail_grammar(
        "", "it was not compiled within {} ms; simplify the constraint", limits.deadline.count());
  }
  return result.get();
}

}  // namespace quern

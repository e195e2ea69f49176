// SPDX-License-Identifier: Apache-2.0
#include "hub/pull.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "hub/blob_store.h"
#include "hub/content_hash.h"

namespace quern {
namespace {

constexpr int kWrongContents = 2;  // arrivals of one file that may differ from its hash
// What one connection has to bring for its end to count as no failure.
constexpr int64_t kProgressBytes = int64_t{4} << 20;

// Passes on one thing at a time, and remembers the first failure of any thread.
class Reports {
 public:
  explicit Reports(PullWatcher& watcher) : watcher_(watcher) {}
  void planned(const PullPlan& plan) { watcher_.planned(plan); }
  void advanced(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes > 0) fetched_bytes_ += bytes;
    watcher_.advanced(bytes);
  }
  void finished(const RepoFile& file) {
    const std::lock_guard lock(mutex_);
    watcher_.finished(file);
  }
  void retrying(const std::string& what, int64_t pause_ms) {
    const std::lock_guard lock(mutex_);
    watcher_.retrying(what, pause_ms);
  }
  void failed(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = failure;
    stop = true;
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }
  int64_t fetched_bytes() const { return fetched_bytes_; }

  std::atomic<bool> stop = false;

 private:
  PullWatcher& watcher_;
  std::mutex mutex_;
  std::exception_ptr failure_;
  int64_t fetched_bytes_ = 0;
};

// Waits in short steps, since another thread may have failed meanwhile.
bool pause(int64_t ms, const std::atomic<bool>& stop) {
  constexpr int64_t kStepMs = 50;
  for (int64_t waited = 0; waited < ms && !stop; waited += kStepMs)
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(kStepMs, ms - waited)));
  return !stop;
}

HubOptions wired(const PullOptions& options, Reports& reports) {
  HubOptions out = options.hub;
  out.http.stop = &reports.stop;
  if (!out.retry.pause)
    out.retry.pause = [&reports](int64_t ms) { return pause(ms, reports.stop); };
  out.retry.on_retry = [&reports](const Error& error, int64_t ms) {
    reports.retrying(error.message(), ms);
  };
  return out;
}

// One file on its way.
class Download {
 public:
  Download(const BlobStore& store, const RepoFile& file, Reports& reports)
      : store_(store), file_(file), reports_(reports), writer_(store, file), hash_(fresh_hash()) {
    if (writer_.written_bytes() > 0) hash_what_is_there();
  }

  void run(HubApi& api, const HubId& at, const RetryPolicy& policy) {
    Attempts attempts(policy);
    for (int wrong = 0;;) {
      const int64_t begin = writer_.written_bytes();
      try {
        if (begin < file_.size_bytes || file_.size_bytes == 0) fetch(api, at);
        if (is_right()) return writer_.finish();
        if (++wrong >= kWrongContents)
          fail(ErrorCode::data_loss,
               "{}: what arrives has another hash than the hub states ({}), {} times; is something "
               "between here and the hub changing it?",
               file_.path,
               file_.hash,
               wrong);
        restart();
      } catch (const TransientError& failure) {
        if (writer_.written_bytes() - begin >= kProgressBytes) attempts.made_progress();
        attempts.wait_after(failure);
      }
    }
  }

 private:
  ContentHash fresh_hash() const { return ContentHash(file_.hash, file_.size_bytes); }

  // A hash has no memory of an earlier process: what that one wrote is read once more.
  void hash_what_is_there() {
    std::ifstream there(store_.incomplete(file_), std::ios::binary);
    std::vector<char> buffer(size_t{1} << 20);
    int64_t left = writer_.written_bytes();
    while (left > 0 && there) {
      there.read(buffer.data(), std::min<int64_t>(left, static_cast<int64_t>(buffer.size())));
      hash_.add(std::as_bytes(std::span(buffer.data(), static_cast<size_t>(there.gcount()))));
      left -= there.gcount();
    }
    if (left > 0) restart();
  }

  void restart() {
    reports_.advanced(-writer_.written_bytes());
    writer_.restart();
    hash_ = fresh_hash();
  }

  void fetch(HubApi& api, const HubId& at) {
    const int64_t from = writer_.written_bytes();
    const HttpSink sink{.on_head = [&](const HttpHead& head) { begin_at(head, from); },
                        .on_body = [&](std::span<const std::byte> bytes) { take(bytes); }};
    if (!api.read(at, file_, from, sink)) {
      restart();
      throw TransientError(format("{}: the hub does not continue a file", file_.path), -1);
    }
    if (writer_.written_bytes() < file_.size_bytes)
      throw TransientError(format("{}: ended after {} of {} bytes",
                                  file_.path,
                                  writer_.written_bytes(),
                                  file_.size_bytes),
                           -1);
  }

  // Whether the answer continues the file, or begins anew.
  void begin_at(const HttpHead& head, int64_t from) {
    constexpr int kPartialContent = 206;
    if (head.status == kPartialContent && head.range_begin == from) return;
    if (head.status == kPartialContent)
      throw TransientError(
          format(
              "{}: asked for bytes from {}, got them from {}", file_.path, from, head.range_begin),
          -1);
    if (writer_.written_bytes() > 0) restart();
  }

  void take(std::span<const std::byte> bytes) {
    if (static_cast<int64_t>(bytes.size()) > file_.size_bytes - writer_.written_bytes())
      fail(ErrorCode::data_loss,
           "{}: more arrives than the {} bytes that were announced",
           file_.path,
           file_.size_bytes);
    hash_.add(bytes);
    writer_.append(bytes);
    reports_.advanced(static_cast<int64_t>(bytes.size()));
  }

  bool is_right() { return std::exchange(hash_, fresh_hash()).finish() == file_.hash; }

  const BlobStore& store_;
  const RepoFile& file_;
  Reports& reports_;
  BlobWriter writer_;
  ContentHash hash_;
};

PullPlan make_plan(const PullOptions& options, HubApi& api, const BlobStore& store) {
  PullPlan out;
  RepoListing listing = api.list(options.id);
  out.commit = listing.commit;
  out.choice = choose_files(listing, options.wish);
  std::set<std::string> blobs;  // two names may have one content
  for (RepoFile& file : out.choice.wanted) {
    api.complete({options.id.repository, out.commit}, file);
    if (!blobs.insert(file.hash).second) continue;
    out.total_bytes += file.size_bytes;
    out.present_bytes += store.has(file) ? file.size_bytes : store.resumable_bytes(file);
  }
  return out;
}

// Files whose content is not here, each content once.
std::vector<const RepoFile*> missing(const PullPlan& plan, const BlobStore& store) {
  std::vector<const RepoFile*> out;
  std::set<std::string> blobs;
  for (const RepoFile& file : plan.choice.wanted)
    if (!store.has(file) && blobs.insert(file.hash).second) out.push_back(&file);
  return out;
}

// What all threads of a pull share.
struct Job {
  HubId at;  // the commit
  const HubOptions& hub;
  const BlobStore& store;
  Reports& reports;
};

void fetch_one(const Job& job, const RepoFile& file, HubApi& api) {
  const FileLock lock = job.store.lock(file);
  if (!job.store.has(file)) Download(job.store, file, job.reports).run(api, job.at, job.hub.retry);
  job.reports.finished(file);
}

void fetch_all(const std::vector<const RepoFile*>& files, int jobs, const Job& job) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    try {
      HubApi api(job.hub);
      for (size_t i = next++; i < files.size() && !job.reports.stop; i = next++)
        fetch_one(job, *files[i], api);
    } catch (...) {
      job.reports.failed(std::current_exception());
    }
  };
  std::vector<std::jthread> threads;
  const size_t count = std::min(files.size(), static_cast<size_t>(std::max(jobs, 1)));
  for (size_t i = 0; i < count; ++i) threads.emplace_back(work);
  threads.clear();  // waits for all
  job.reports.rethrow();
}

}  // namespace

PulledModel pull_model(const PullOptions& options, PullWatcher& watcher) {
  Reports reports(watcher);
  const HubOptions hub = wired(options, reports);
  const BlobStore store(options.cache, options.id.repository);
  HubApi api(hub);
  const PullPlan plan = make_plan(options, api, store);
  watcher.planned(plan);
  const std::string folder = store.snapshot(plan.commit);
  if (options.only_looks) return {folder, plan.commit, 0};
  store.prepare();
  const FileLock lock = store.lock();
  store.require_space(plan.total_bytes - plan.present_bytes);
  const Job job{{options.id.repository, plan.commit}, hub, store, reports};
  fetch_all(missing(plan, store), options.jobs, job);
  for (const RepoFile& file : plan.choice.wanted) store.link(plan.commit, file);
  store.set_ref(options.id.revision, plan.commit);
  return {folder, plan.commit, reports.fetched_bytes()};
}

}  // namespace quern

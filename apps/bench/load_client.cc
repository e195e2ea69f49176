// SPDX-License-Identifier: Apache-2.0
// libcurl's multi interface on one thread: a load must not need the cores that it measures.
#include "bench/load_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "bench/event_reader.h"

namespace quern::bench {
namespace {

struct CleanUp {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct CleanUpMulti {  // to libcurl both kinds of handles are void*
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
using Easy = std::unique_ptr<CURL, CleanUp>;
using Multi = std::unique_ptr<CURLM, CleanUpMulti>;
using Headers = std::unique_ptr<curl_slist, CleanUp>;

Headers headers_of(const Endpoint& endpoint) {
  curl_slist* list = curl_slist_append(nullptr, "Content-Type: application/json");
  list = curl_slist_append(list, "Expect:");  // no question before a long body
  if (!endpoint.api_key.empty())
    list = curl_slist_append(list, ("Authorization: Bearer " + endpoint.api_key).c_str());
  return Headers(list);
}

Easy open_handle(const Endpoint& endpoint, const std::string& path, const Headers& headers) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  Easy easy(ready == CURLE_OK ? curl_easy_init() : nullptr);
  if (!easy) fail(ErrorCode::exhausted, "no more memory for a connection");
  curl_easy_setopt(easy.get(), CURLOPT_URL, (endpoint.base_url + path).c_str());
  curl_easy_setopt(easy.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_CONNECTTIMEOUT, 30L);
  return easy;
}

long status_of(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

std::string what_failed(CURLcode code, CURL* easy, const EventReader& reader) {
  if (code == CURLE_WRITE_ERROR) return "the server sent an event that is no JSON";
  if (code != CURLE_OK) return curl_easy_strerror(code);
  const long status = status_of(easy);
  const std::string said = reader.error();
  if (status != 200) return format("HTTP {}: {}", status, said);
  return said;
}

// One request on its way.
struct Transfer {
  Easy easy;
  size_t index = 0;
  const Clock* clock = nullptr;
  int64_t begin_us = 0, last_us = 0;
  EventReader reader;
  Outcome outcome;
  int64_t events = 0;

  void on_event(EventNews news) {
    const int64_t now = clock->now_us();
    if (news.has_text) {
      if (events++ == 0)
        outcome.ttft_s = static_cast<double>(now - begin_us) * 1e-6;
      else
        outcome.itl_s.push_back(static_cast<double>(now - last_us) * 1e-6);
    }
    last_us = now;
  }

  static size_t on_body(char* data, size_t size, size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    try {
      transfer.reader.feed({data, size * count},
                           [&transfer](EventNews news) { transfer.on_event(news); });
    } catch (const Error&) {
      return 0;  // libcurl ends the transfer
    }
    return size * count;
  }

  void finish(CURLcode code, const TimedRequest& request) {
    outcome.error = what_failed(code, easy.get(), reader);
    if (outcome.error.empty() && events == 0) outcome.error = "the answer had no event";
    outcome.is_success = outcome.error.empty();
    outcome.latency_s = static_cast<double>(last_us - begin_us) * 1e-6;
    outcome.input_tokens =
        reader.prompt_tokens() >= 0 ? reader.prompt_tokens() : request.input_tokens;
    outcome.output_tokens = reader.completion_tokens() >= 0 ? reader.completion_tokens() : events;
  }
};

class Load {
 public:
  Load(const Endpoint& endpoint,
       const std::string& path,
       const std::vector<TimedRequest>& requests,
       const LoadLimits& limits)
      : endpoint_(endpoint),
        path_(path),
        requests_(requests),
        limits_(limits),
        headers_(headers_of(endpoint)),
        multi_(curl_multi_init()) {
    if (!multi_) fail(ErrorCode::exhausted, "no more memory for connections");
    // Places for all connections: a reused one must not be closed for another's sake.
    curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, 4096L);
    result_.outcomes.resize(requests.size());
  }

  ~Load() {
    for (const auto& transfer : running_)
      curl_multi_remove_handle(multi_.get(), transfer->easy.get());
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  LoadResult run() {
    start_us_ = clock_.now_us();
    while (next_ < requests_.size() || !running_.empty()) {
      send_due();
      int active = 0;
      curl_multi_perform(multi_.get(), &active);
      collect();
      if (next_ < requests_.size() || !running_.empty())
        curl_multi_poll(multi_.get(), nullptr, 0, wait_ms(), nullptr);
    }
    result_.duration_s = elapsed_s();
    return std::move(result_);
  }

 private:
  double elapsed_s() const { return static_cast<double>(clock_.now_us() - start_us_) * 1e-6; }

  bool has_place() const {
    return limits_.max_concurrency == 0 ||
           static_cast<int>(running_.size()) < limits_.max_concurrency;
  }

  // Until the next request is due; news on a connection ends the wait.
  int wait_ms() const {
    if (next_ == requests_.size() || !has_place()) return 1000;
    return std::clamp(static_cast<int>((requests_[next_].at_s - elapsed_s()) * 1e3), 0, 1000);
  }

  void send_due() {
    while (next_ < requests_.size() && has_place() && requests_[next_].at_s <= elapsed_s())
      send(next_++);
    result_.most_at_once = std::max(result_.most_at_once, static_cast<int>(running_.size()));
  }

  void send(size_t index) {
    auto transfer = std::make_unique<Transfer>();
    transfer->easy = open_handle(endpoint_, path_, headers_);
    transfer->index = index;
    transfer->clock = &clock_;
    CURL* easy = transfer->easy.get();
    const std::string& body = requests_[index].body;
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, static_cast<long>(limits_.timeout_s));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer.get());
    transfer->outcome.sent_s = elapsed_s();
    transfer->begin_us = transfer->last_us = clock_.now_us();
    curl_multi_add_handle(multi_.get(), easy);
    running_.push_back(std::move(transfer));
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* easy = message->easy_handle;
      const CURLcode code = message->data.result;
      const auto it = std::find_if(running_.begin(), running_.end(), [easy](const auto& t) {
        return t->easy.get() == easy;
      });
      QUERN_CHECK(it != running_.end());
      (*it)->finish(code, requests_[(*it)->index]);
      curl_multi_remove_handle(multi_.get(), easy);
      result_.outcomes[(*it)->index] = std::move((*it)->outcome);
      running_.erase(it);
    }
  }

  const Endpoint& endpoint_;
  const std::string& path_;
  const std::vector<TimedRequest>& requests_;
  const LoadLimits& limits_;
  Headers headers_;
  Multi multi_;
  MonotonicClock clock_;
  int64_t start_us_ = 0;
  size_t next_ = 0;
  std::vector<std::unique_ptr<Transfer>> running_;
  LoadResult result_;
};

}  // namespace

LoadResult send_load(const Endpoint& endpoint,
                     const std::string& path,
                     const std::vector<TimedRequest>& requests,
                     const LoadLimits& limits) {
  return Load(endpoint, path, requests, limits).run();
}

}  // namespace quern::bench

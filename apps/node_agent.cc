// SPDX-License-Identifier: Apache-2.0
#include "node_agent.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "build_id.h"
#include "cluster.h"
#include "cpu_sets.h"
#include "exit_codes.h"
#include "fd_port.h"
#include "local_worker.h"
#include "model_source.h"
#include "rank_links.h"

namespace quern {
namespace {

constexpr int kPingMs = 500, kMostPings = 6;          // the head speaks every half second
constexpr int kFirstMs = 300'000, kAgainMs = 60'000;  // how long a head is waited for
constexpr int kConnectMs = 3'000;
constexpr auto kPause = std::chrono::milliseconds(500);

class NodeAgent {
 public:
  explicit NodeAgent(const ModelOptions& options)
      : options_(options),
        head_(HostPort::parse(options.head_addr, "--head-addr")),
        credentials_{read_secret(options), build_id()},
        model_(find_model(options.model).path) {}

  int run() {
    for (int patience_ms = kFirstMs;; patience_ms = kAgainMs) {
      if (!connect(patience_ms)) return kExitTemporary;
      log(LogLevel::info, "node {} serves the head at {}", options_.node_rank, head_.text());
      if (obey()) return kExitDone;
      workers_.clear();
      log(LogLevel::warn, "the head is gone; waiting for it");
    }
  }

 private:
  // False if it did not come.
  bool connect(int patience_ms) {
    const MonotonicClock clock;
    const int64_t deadline_us = clock.now_us() + int64_t{patience_ms} * 1'000;
    for (std::string told;;) {
      try {
        Socket socket = connect_to(head_, kConnectMs);
        introduce(socket, credentials_, Json{{"node", options_.node_rank}}.dump(), kConnectMs);
        host_ = options_.node_addr.empty() ? socket.local() : options_.node_addr;
        port_ = std::make_unique<FdPort>(socket.release());
        return true;
      } catch (const Error& e) {
        if (e.code() != ErrorCode::unavailable) throw;  // another secret or build
        if (told != e.what()) log(LogLevel::info, "waiting for the head: {}", told = e.what());
        if (clock.now_us() > deadline_us) {
          log(LogLevel::error, "the head did not come within {} s", patience_ms / 1'000);
          return false;
        }
      }
      std::this_thread::sleep_for(kPause);
    }
  }

  // True if the head has ended in good order.
  bool obey() {
    try {
      int silent = 0;
      for (std::string text; silent < kMostPings;) {
        if (!port_->receive(text, kPingMs)) {
          ++silent;
          continue;
        }
        silent = 0;
        const Json word = parse_json(text, "word of the head");
        const auto what = word.at("do").get<std::string>();
        if (what == "end") return true;
        if (what == "start") start(word.at("epoch"), word.at("ranks").get<std::vector<int>>());
        if (what == "stop") stop(word.at("epoch"), word.at("rank"));
      }
    } catch (const std::exception& e) {
      log(LogLevel::warn, "{}", e.what());
    }
    return false;
  }

  void start(uint64_t epoch, const std::vector<int>& ranks) {
    workers_.clear();  // of earlier epochs
    const SharedRegions regions(place_of(options_, 0));
    const auto cpus = divide_cpus(probe_topology(), static_cast<int>(ranks.size()));
    for (size_t i = 0; i < ranks.size(); ++i) {
      const int cores = std::max(1, static_cast<int>(cpus[i].size()));
      const WorkerSummons summons{.head = head_.text(),
                                  .secret = credentials_.secret,
                                  .epoch = epoch,
                                  .rank = ranks[i],
                                  .model = model_,
                                  .listen_host = host_,
                                  .threads = options_.threads > 0 ? options_.threads : cores,
                                  .cpus = cpus[i]};
      auto worker =
          start_local_worker(ranks[i], regions.fds_of(place_of(options_, ranks[i])), MustDial::yes);
      worker->send(summons.to_text());
      workers_[{epoch, ranks[i]}] = std::move(worker);
    }
  }

  void stop(uint64_t epoch, int rank) {
    const auto it = workers_.find({epoch, rank});
    const std::string how = it == workers_.end() ? "was ended before" : it->second->end();
    port_->send(Json{{"epoch", epoch}, {"rank", rank}, {"ended", how}}.dump());
  }

  const ModelOptions& options_;
  const HostPort head_;
  const Credentials credentials_;
  const std::string model_;
  std::string host_;  // of this machine, for other ranks
  std::unique_ptr<FdPort> port_;
  std::map<std::pair<uint64_t, int>, std::unique_ptr<WorkerHandle>> workers_;
};

}  // namespace

int run_node(const ModelOptions& options) {
  return NodeAgent(options).run();
}

}  // namespace quern

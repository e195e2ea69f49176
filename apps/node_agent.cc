// SPDX-License-Identifier: Apache-2.0
#include "node_agent.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
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
#include "model_copy.h"
#include "model_source.h"
#include "rank_links.h"

namespace quern {
namespace {

constexpr int kPingMs = 500, kMostPings = 6;          // the head speaks every half second
constexpr int kFirstMs = 300'000, kAgainMs = 60'000;  // how long a head is waited for
constexpr int kConnectMs = 3'000;
constexpr int64_t kTellUs = 5'000'000;
constexpr auto kPause = std::chrono::milliseconds(500);

class NodeAgent {
 public:
  explicit NodeAgent(const ModelOptions& options)
      : options_(options),
        head_(HostPort::parse(options.head_addr, "--head-addr")),
        credentials_{read_secret(options), build_id()} {}

  int run() {
    if (options_.copy_model && !std::filesystem::exists(options_.model)) {
      if (!copy_model()) return kExitTemporary;
    }
    model_ = find_model(options_.model).path;
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
    return reach(patience_ms, "node", [this](Socket socket) {
      host_ = options_.node_addr.empty() ? socket.local() : options_.node_addr;
      port_ = std::make_unique<FdPort>(socket.release());
    });
  }

  bool copy_model() {
    if (options_.model.find('/') == std::string::npos)
      fail(ErrorCode::invalid_argument,
           "--copy-model: {} is no path: say where the copy is to lie, as in ./{}",
           options_.model,
           options_.model);
    const MonotonicClock clock;
    int64_t told_us = 0;
    const auto tell = [&](const CopyProgress& p) {
      if (clock.now_us() - told_us < kTellUs && p.done < p.all) return;
      told_us = clock.now_us();
      log(LogLevel::info,
          "{}: {:.2f} of {:.2f} GB are here",
          options_.model,
          1e-9 * static_cast<double>(p.done),
          1e-9 * static_cast<double>(p.all));
    };
    return reach(kFirstMs, "copy", [&](const Socket& socket) {
      receive_model_copy(socket, options_.model, tell);
    });
  }

  // Does `act` on a connection to the head, which learns what for; again where it breaks. False if
  // the head did not come.
  bool reach(int patience_ms, const char* what, const std::function<void(Socket)>& act) {
    const MonotonicClock clock;
    int64_t last_us = clock.now_us();
    for (std::string told;;) {
      try {
        Socket socket = connect_to(head_, kConnectMs);
        introduce(socket, credentials_, Json{{what, options_.node_rank}}.dump(), kConnectMs);
        last_us = std::numeric_limits<int64_t>::max();  // from when it breaks
        act(std::move(socket));
        return true;
      } catch (const Error& e) {
        if (e.code() != ErrorCode::unavailable) throw;  // another secret or build
        if (told != e.what()) log(LogLevel::info, "waiting for the head: {}", told = e.what());
        last_us = std::min(last_us, clock.now_us());
        if (clock.now_us() - last_us > int64_t{patience_ms} * 1'000) {
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
  std::string model_;
  std::string host_;  // of this machine, for other ranks
  std::unique_ptr<FdPort> port_;
  std::map<std::pair<uint64_t, int>, std::unique_ptr<WorkerHandle>> workers_;
};

}  // namespace

int run_node(const ModelOptions& options) {
  return NodeAgent(options).run();
}

}  // namespace quern

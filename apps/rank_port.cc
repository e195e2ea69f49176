// SPDX-License-Identifier: Apache-2.0
#include "rank_port.h"

#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "model_copy.h"

namespace quern {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr int kLookMs = 200, kPingMs = 500;
constexpr int kHelloMs = 3'000;  // for a handshake
constexpr int kMaxHandshakes = 32;
constexpr int kWorkerMs = 30'000;  // from the word to a node until its worker has come
constexpr int kEndMs = 2'000;
constexpr int kRemindMs = 5'000;

}  // namespace

// A connected node. Its thread pings it, and takes its words.
struct RankPort::Node {
  explicit Node(int fd) : port(fd) {}
  FdPort port;
  std::mutex sending;
  std::string host;
  bool is_gone = false;                                     // under the state's mutex
  std::map<std::pair<uint64_t, int>, std::string> endings;  // by epoch and rank; likewise

  void send(const Json& json) {
    const std::lock_guard lock(sending);
    port.send(json.dump());
  }
};

struct RankPort::State {
  State(Credentials own, int count, std::string files)
      : credentials(std::move(own)), nnodes(count), model(std::move(files)) {}

  const Credentials credentials;
  const int nnodes;
  const std::string model;
  std::atomic<int64_t> last_piece_us = 0;  // of a copy
  std::atomic<bool> is_over = false;
  std::atomic<int> handshakes = 0;
  std::mutex mutex;  // all below
  std::condition_variable changed;
  int threads = 0;
  std::set<int> copying;  // sockets
  std::map<int, std::shared_ptr<Node>> nodes;
  std::map<std::pair<uint64_t, int>, Arrival> workers;  // that nobody has taken yet

  void receive(Socket socket);
  void serve_copy(const Socket& socket);
  std::shared_ptr<Node> add_node(int number, Socket socket);
  void attend(int number, Node& node);
  std::shared_ptr<Node> node(int number);
  std::vector<int> missing(const std::vector<int>& wanted) const;
};

// Who stays, stays on this thread.
void RankPort::State::receive(Socket socket) {
  const Json hello = [&] {
    struct Leaver {
      std::atomic<int>& count;
      ~Leaver() { --count; }
    } const leaver{handshakes};
    return parse_json(welcome(socket, credentials, kHelloMs), "hello", {.max_bytes = 4'096});
  }();
  if (hello.contains("node")) {
    const int number = hello.at("node").get<int>();
    const std::shared_ptr<Node> node = add_node(number, std::move(socket));
    return attend(number, *node);
  }
  if (hello.contains("copy")) {
    log(LogLevel::info, "node {} copies the model", hello.at("copy").get<int>());
    return serve_copy(socket);
  }
  const std::pair<uint64_t, int> key = {hello.at("epoch").get<uint64_t>(),
                                        hello.at("rank").get<int>()};
  std::string place = format("{}, pid {}", socket.peer(), hello.at("pid").get<int>());
  const std::lock_guard lock(mutex);
  workers[key] = {std::make_unique<FdPort>(socket.release()), std::move(place)};
  changed.notify_all();
}

void RankPort::State::serve_copy(const Socket& socket) {
  struct Entry {
    State& state;
    const int fd;
    Entry(State& of, int socket) : state(of), fd(socket) { change(true); }
    ~Entry() { change(false); }
    void change(bool begins) {
      const std::lock_guard lock(state.mutex);
      begins ? void(state.copying.insert(fd)) : void(state.copying.erase(fd));
    }
  } const entry(*this, socket.fd());
  serve_model_copy(socket, model, [this] {
    last_piece_us = MonotonicClock().now_us();
    if (is_over) fail(ErrorCode::unavailable, "the head ends");
  });
}

std::shared_ptr<RankPort::Node> RankPort::State::add_node(int number, Socket socket) {
  if (number < 1 || number >= nnodes)
    fail(
        ErrorCode::invalid_argument, "--node-rank {}: there are nodes 1 to {}", number, nnodes - 1);
  const std::string host = socket.peer();
  const auto node = std::make_shared<Node>(socket.release());
  node->host = host;
  {
    const std::lock_guard lock(mutex);
    nodes[number] = node;  // one that was there before has been restarted
  }
  changed.notify_all();
  log(LogLevel::info, "node {} has come from {}", number, host);
  return node;
}

std::shared_ptr<RankPort::Node> RankPort::State::node(int number) {
  const std::lock_guard lock(mutex);
  const auto it = nodes.find(number);
  if (it == nodes.end() || it->second->is_gone)
    fail(ErrorCode::unavailable, "node {} is gone", number);
  return it->second;
}

// Under the mutex.
std::vector<int> RankPort::State::missing(const std::vector<int>& wanted) const {
  std::vector<int> out;
  for (const int number : wanted)
    if (const auto it = nodes.find(number); it == nodes.end() || it->second->is_gone)
      out.push_back(number);
  return out;
}

void RankPort::State::attend(int number, Node& node) {
  try {
    for (std::string text; !is_over;) {
      if (!node.port.receive(text, kPingMs)) {
        node.send({{"do", "ping"}});
        continue;
      }
      const Json word = parse_json(text, "word of a node");
      const std::lock_guard lock(mutex);
      node.endings[{word.at("epoch").get<uint64_t>(), word.at("rank").get<int>()}] =
          word.at("ended").get<std::string>();
      changed.notify_all();
    }
  } catch (const std::exception& e) {
    if (!is_over) log(LogLevel::warn, "node {} is gone: {}", number, e.what());
  }
  const std::lock_guard lock(mutex);
  node.is_gone = true;
  changed.notify_all();
}

RankPort::RankPort(const HostPort& address, Credentials credentials, int nnodes, std::string model)
    : state_(std::make_shared<State>(std::move(credentials), nnodes, std::move(model))),
      listener_(address),
      thread_([this] { listen(); }) {
  log(LogLevel::info, "waiting for ranks on {}", listener_.address().text());
}

RankPort::~RankPort() {
  is_over_ = true;
  thread_.join();
  state_->is_over = true;
  std::unique_lock lock(state_->mutex);
  for (const auto& [number, node] : state_->nodes) try {
      node->send({{"do", "end"}});
      node->port.shut();
    } catch (const Error&) {
      // It is gone already.
    }
  for (const int socket : state_->copying) ::shutdown(socket, SHUT_RDWR);
  state_->changed.wait(lock, [this] { return state_->threads == 0; });
}

// Each connection has a thread of its own, so that a stranger who says nothing holds nobody up.
void RankPort::listen() {
  while (!is_over_) {
    Socket socket = listener_.accept(kLookMs);
    if (!socket.is_open()) continue;
    if (state_->handshakes >= kMaxHandshakes) continue;  // closes it
    ++state_->handshakes;
    {
      const std::lock_guard lock(state_->mutex);
      ++state_->threads;
    }
    std::thread([state = state_, socket = std::move(socket)]() mutable {
      const std::string peer = socket.peer();
      try {
        state->receive(std::move(socket));
      } catch (const std::exception& e) {
        log(LogLevel::warn, "refused at the rank port peer={} reason=\"{}\"", peer, e.what());
      }
      const std::lock_guard lock(state->mutex);
      --state->threads;
      state->changed.notify_all();
    }).detach();
  }
}

std::vector<int> RankPort::missing(const std::vector<int>& nodes) const {
  const std::lock_guard lock(state_->mutex);
  return state_->missing(nodes);
}

void RankPort::await_nodes(const std::vector<int>& nodes,
                           int timeout_ms,
                           const std::atomic<bool>& should_stop) {
  const MonotonicClock clock;
  const int64_t begin_us = clock.now_us();
  int64_t told_us = begin_us;
  std::unique_lock lock(state_->mutex);
  for (std::vector<int> gone; !(gone = state_->missing(nodes)).empty();) {
    const std::string missing = format("{}", fmt::join(gone, ", "));
    state_->changed.wait_for(lock, Milliseconds(kLookMs));
    if (should_stop) fail(ErrorCode::cancelled, "the wait for nodes was broken off");
    const std::string how =
        format("start quern serve MODEL --nnodes {} --node-rank N --head-addr {} there",
               state_->nnodes,
               listener_.address().text());
    const int64_t now_us = clock.now_us();
    if (now_us - std::max<int64_t>(begin_us, state_->last_piece_us) > int64_t{timeout_ms} * 1'000)
      fail(ErrorCode::unavailable,
           "node {} did not come within {} s; {}",
           missing,
           timeout_ms / 1'000,
           how);
    if (now_us - told_us < int64_t{kRemindMs} * 1'000) continue;
    told_us = now_us;
    log(LogLevel::info, "waiting for node {}; {}", missing, how);
  }
}

void RankPort::start_workers(int node, uint64_t epoch, const std::vector<int>& ranks) {
  state_->node(node)->send({{"do", "start"}, {"epoch", epoch}, {"ranks", ranks}});
}

Arrival RankPort::await_worker(int node,
                               uint64_t epoch,
                               int rank,
                               const std::atomic<bool>& should_stop) {
  const MonotonicClock clock;
  const int64_t deadline_us = clock.now_us() + int64_t{kWorkerMs} * 1'000;
  std::unique_lock lock(state_->mutex);
  for (;;) {
    if (const auto it = state_->workers.find({epoch, rank}); it != state_->workers.end()) {
      Arrival out = std::move(it->second);
      out.place = format("node {}, {}", node, out.place);
      state_->workers.erase(it);
      std::erase_if(state_->workers, [&](const auto& late) { return late.first.first < epoch; });
      return out;
    }
    if (should_stop) fail(ErrorCode::cancelled, "the start of the workers was broken off");
    const auto known = state_->nodes.find(node);
    if (known == state_->nodes.end() || known->second->is_gone || clock.now_us() > deadline_us)
      fail(ErrorCode::unavailable, "rank {}: its worker did not come from node {}", rank, node);
    state_->changed.wait_for(lock, Milliseconds(kLookMs));
  }
}

std::string RankPort::end_worker(int node, uint64_t epoch, int rank) {
  try {
    const std::shared_ptr<Node> there = state_->node(node);
    there->send({{"do", "stop"}, {"epoch", epoch}, {"rank", rank}});
    std::unique_lock lock(state_->mutex);
    const auto has_ended = [&] { return there->is_gone || there->endings.contains({epoch, rank}); };
    state_->changed.wait_for(lock, Milliseconds(kEndMs), has_ended);
    const auto it = there->endings.find({epoch, rank});
    if (it != there->endings.end()) return it->second;
  } catch (const Error&) {
    // Nobody is left to be asked.
  }
  return "its node does not answer";
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "net_check.h"

#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "bench/roofs.h"
#include "build_id.h"
#include "cluster.h"
#include "comm/handshake.h"
#include "comm/net_probe.h"
#include "commands.h"
#include "exit_codes.h"
#include "fd_port.h"

namespace quern {
namespace {

constexpr int kPatienceMs = 300'000;  // for machines that are still to come
constexpr int kRemindMs = 5'000;
constexpr int kConnectMs = 5'000, kLookMs = 200;
constexpr int kMeasureMs = 30'000;                          // of one way
constexpr int kAnswerMs = kConnectMs + kMeasureMs + 5'000;  // of a machine to the head
constexpr auto kPause = std::chrono::milliseconds(500);

// One machine: does what the head says.
class Prober {
 public:
  Prober(int number, const std::string& host, Credentials credentials)
      : number_(number), credentials_(std::move(credentials)), listener_(HostPort{host, 0}) {}

  std::string address() const { return listener_.address().text(); }

  void obey(MessagePort& port) {
    for (std::string text;;) {
      if (!port.receive(text, kPatienceMs + kAnswerMs))
        fail(ErrorCode::unavailable, "the head says nothing more");
      const Json word = parse_json(text, "word of the head");
      const auto what = word.at("do").get<std::string>();
      if (what == "end") return;
      Json answer = Json::object();
      try {
        answer = what == "reach" ? reach(word.at("to"), word.at("name")) : await(word.at("name"));
      } catch (const Error& e) {
        answer["problem"] = e.what();
      }
      answer["name"] = word.at("name");
      port.send(answer.dump());
    }
  }

 private:
  Json reach(const std::string& to, const std::string& name) {
    const Socket socket = connect_to(HostPort::parse(to, "machine's address"), kConnectMs);
    introduce(socket, credentials_, name, kConnectMs);
    const LinkSpeed speed = measure_link(socket, deadline_after(kMeasureMs));
    return {{"round_trip_s", speed.round_trip_s}, {"bytes_per_s", speed.bytes_per_s}};
  }

  // Whoever comes late, of a way that was given up, is sent away.
  Json await(const std::string& name) {
    const int64_t deadline_us = deadline_after(kConnectMs);
    while (MonotonicClock().now_us() < deadline_us) {
      const Socket socket = listener_.accept(kLookMs);
      if (!socket.is_open() || welcome(socket, credentials_, kConnectMs) != name) continue;
      answer_probe(socket, deadline_after(kMeasureMs));
      return Json::object();
    }
    fail(ErrorCode::unavailable, "machine {}: nobody came to {}", number_, address());
  }

  const int number_;
  const Credentials credentials_;
  TcpListener listener_;
};

struct Machine {
  std::unique_ptr<FdPort> port;
  std::string address;  // of its prober
  MachineModel model;
};

Json hello_of(int number, const Prober& prober, const MachineModel& own) {
  return {{"machine", number},
          {"address", prober.address()},
          {"cores", own.cores},
          {"memory_bytes", own.memory_bytes},
          {"read_bytes_per_s", own.bytes_per_s}};
}

Machine machine_of(const Json& hello, int fd) {
  Machine out{std::make_unique<FdPort>(fd), hello.at("address"), {}};
  out.model = {.address = HostPort::parse(out.address, "machine's address").host,
               .cores = hello.at("cores"),
               .memory_bytes = hello.at("memory_bytes"),
               .bytes_per_s = hello.at("read_bytes_per_s")};
  return out;
}

// The machines that have come, by number.
class Gathering {
 public:
  Gathering(const ParallelOptions& options, const Credentials& credentials)
      : credentials_(credentials),
        listener_(HostPort::parse(options.head_addr, "--head-addr")),
        machines_(static_cast<size_t>(options.nnodes)) {}

  std::vector<Machine>& wait() {
    const int64_t deadline_us = deadline_after(kPatienceMs);
    for (int64_t told_us = 0; !missing().empty();) {
      if (const int64_t now_us = MonotonicClock().now_us(); now_us > deadline_us) {
        fail(ErrorCode::unavailable,
             "machine {} did not come within {} s",
             missing(),
             kPatienceMs / 1'000);
      } else if (now_us - told_us > kRemindMs * 1'000) {
        log(LogLevel::info, "waiting at {} for machine {}", listener_.address().text(), missing());
        told_us = now_us;
      }
      Socket socket = listener_.accept(kLookMs);
      if (socket.is_open()) greet(std::move(socket));
    }
    return machines_;
  }

  void add(size_t number, Machine machine) { machines_[number] = std::move(machine); }

 private:
  std::string missing() const {
    std::string out;
    for (size_t i = 0; i < machines_.size(); ++i)
      if (!machines_[i].port) out += format("{}{}", out.empty() ? "" : ", ", i);
    return out;
  }

  void greet(Socket socket) {
    const std::string from = socket.peer();
    try {
      const Json hello = parse_json(welcome(socket, credentials_, kConnectMs), "hello");
      const auto number = hello.at("machine").get<size_t>();
      if (number == 0 || number >= machines_.size())
        fail(ErrorCode::invalid_argument, "--node-rank {} of {}", number, machines_.size());
      if (machines_[number].port)
        log(LogLevel::warn, "machine {} came again from {}", number, from);
      machines_[number] = machine_of(hello, socket.release());
      log(LogLevel::info, "machine {} has come from {}", number, from);
    } catch (const std::exception& e) {
      log(LogLevel::warn, "refused {}: {}", from, e.what());
    }
  }

  const Credentials& credentials_;
  TcpListener listener_;
  std::vector<Machine> machines_;
};

// What a machine answers about a way, with the problem of who does not answer. Answers about ways
// that were given up may come before it.
Json answer_of(Machine& machine, const std::string& name) {
  try {
    for (std::string text;;) {
      if (!machine.port->receive(text, kAnswerMs))
        fail(ErrorCode::unavailable, "{} does not answer any more", machine.address);
      Json answer = parse_json(text, "answer of a machine");
      if (answer.at("name") == name) return answer;
    }
  } catch (const std::exception& e) {
    return {{"problem", e.what()}};
  }
}

// One way between two machines.
LinkModel measure(Machine& from, Machine& to, const std::string& name) {
  LinkModel out;
  try {
    to.port->send(Json{{"do", "await"}, {"name", name}}.dump());
    from.port->send(Json{{"do", "reach"}, {"to", to.address}, {"name", name}}.dump());
    const Json asked = answer_of(from, name), awaited = answer_of(to, name);
    out.problem = asked.value("problem", "");
    if (!out.problem.empty()) return out;
    out.round_trip_s = asked.at("round_trip_s");
    out.bytes_per_s = asked.at("bytes_per_s");
  } catch (const std::exception& e) {
    out.problem = e.what();
  }
  return out;
}

MachineModel own_machine() {
  const Topology topology = probe_topology();
  ThreadPool pool(std::max(1, topology.physical_cores));
  return {.address = {},
          .cores = topology.physical_cores,
          .memory_bytes = topology.available_bytes,
          .bytes_per_s = 1e9 * bench::measure_roofs(pool, topology.isa).read_gb_s};
}

std::string text_of(const MachineMap& map) {
  std::string out = format(
      "{:<8} {:<24} {:>5} {:>12} {:>12}\n", "machine", "address", "cores", "memory", "reads");
  for (size_t i = 0; i < map.machines.size(); ++i) {
    const MachineModel& m = map.machines[i];
    out += format("{:<8} {:<24} {:>5} {:>8.2f} GiB {:>7.1f} GB/s\n",
                  i == 0 ? "0 (head)" : format("{}", i),
                  m.address,
                  m.cores,
                  static_cast<double>(m.memory_bytes) / (int64_t{1} << 30),
                  m.bytes_per_s * 1e-9);
  }
  out += format("\n{:<8} {:>12} {:>14}\n", "from to", "round trip", "one way");
  for (size_t a = 0; a < map.machines.size(); ++a)
    for (size_t b = 0; b < map.machines.size(); ++b) {
      const LinkModel& link = map.links[a][b];
      if (a == b || !link.problem.empty()) continue;
      out += format("{:<8} {:>9.0f} us {:>9.1f} MB/s\n",
                    format("{} {}", a, b),
                    link.round_trip_s * 1e6,
                    link.bytes_per_s * 1e-6);
    }
  for (const std::string& odd : oddities(map)) out += "\n" + odd + "\n";
  return out;
}

int net_check(const ParallelOptions& options, bool json) {
  if (options.nnodes < 2 || options.head_addr.empty())
    fail(ErrorCode::invalid_argument, "net-check: --nnodes N and --head-addr HOST:PORT are needed");
  if (options.node_rank >= options.nnodes)
    fail(ErrorCode::invalid_argument,
         "--node-rank {}: with --nnodes {} there are ranks 0 to {}",
         options.node_rank,
         options.nnodes,
         options.nnodes - 1);
  const MachineModel own = own_machine();
  if (options.node_rank > 0) {
    serve_net_check(options, own);
    return kExitDone;
  }
  const MachineMap map = check_net(options, own);
  const std::string out = json ? map.to_json().dump(1) + "\n" : text_of(map);
  std::fputs(out.c_str(), stdout);
  return map.is_whole() ? kExitDone : kExitFailed;
}

}  // namespace

MachineMap check_net(const ParallelOptions& options, const MachineModel& own) {
  const Credentials credentials{read_secret(options), build_id()};
  Prober prober(0, listen_host_of(options), credentials);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    fail(ErrorCode::exhausted, "net-check: no sockets are left");
  // The head's machine measures as every other does.
  std::jthread own_thread([&prober, port = std::make_unique<FdPort>(ends[1])] {
    try {
      prober.obey(*port);
    } catch (const Error&) {
      // The head's thread has ended, and says why.
    }
  });
  Gathering gathering(options, credentials);
  gathering.add(0, machine_of(hello_of(0, prober, own), ends[0]));
  std::vector<Machine>& machines = gathering.wait();
  MachineMap map;
  for (const Machine& machine : machines) map.machines.push_back(machine.model);
  for (size_t a = 0; a < machines.size(); ++a) {
    map.links.emplace_back(machines.size());
    for (size_t b = 0; b < machines.size(); ++b)
      if (a != b) map.links[a][b] = measure(machines[a], machines[b], format("{} to {}", a, b));
  }
  for (Machine& machine : machines) {
    try {
      machine.port->send(Json{{"do", "end"}}.dump());
    } catch (const Error&) {
      // It is gone, as its links say.
    }
  }
  return map;
}

void serve_net_check(const ParallelOptions& options, const MachineModel& own) {
  const Credentials credentials{read_secret(options), build_id()};
  const HostPort head = HostPort::parse(options.head_addr, "--head-addr");
  const int64_t deadline_us = deadline_after(kPatienceMs);
  for (std::string told;;) {
    try {
      Socket socket = connect_to(head, kConnectMs);
      Prober prober(options.node_rank,
                    options.node_addr.empty() ? socket.local() : options.node_addr,
                    credentials);
      introduce(socket, credentials, hello_of(options.node_rank, prober, own).dump(), kConnectMs);
      FdPort port(socket.release());
      prober.obey(port);
      return;
    } catch (const Error& e) {
      if (e.code() != ErrorCode::unavailable || MonotonicClock().now_us() > deadline_us) throw;
      if (told != e.what()) log(LogLevel::info, "waiting for the head: {}", told = e.what());
    }
    std::this_thread::sleep_for(kPause);
  }
}

void add_net_check_command(CLI::App& parent, int& exit_code) {
  struct Options {
    ParallelOptions places;
    bool json = false;
  };
  auto o = std::make_shared<Options>();
  CLI::App* command = parent.add_subcommand(
      "net-check", "measure every way between the machines of a cluster; started on each of them");
  add_place_options(*command, o->places);
  command->add_flag("--json", o->json, "what quern plan --net-check reads");
  command->callback([o, &exit_code] { exit_code = net_check(o->places, o->json); });
}

}  // namespace quern

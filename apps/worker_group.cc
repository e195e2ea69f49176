// SPDX-License-Identifier: Apache-2.0
#include "worker_group.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "build_id.h"
#include "local_worker.h"
#include "rank_links.h"

namespace quern {
namespace {

constexpr int kBeginMs = 60'000;  // for opening files
constexpr int kMeetMs = 30'000;   // for what takes milliseconds
constexpr int kLoadMs =
    3'600'000;  // a large model from a slow disk; whoever stops is noticed sooner
constexpr int kNodesMs = 300'000, kNodesAgainMs = 60'000;
constexpr double kMib = 1024.0 * 1024.0;

// A worker of another machine.
class RemoteWorker final : public WorkerHandle {
 public:
  RemoteWorker(RankPort& head, int node, uint64_t epoch, int rank, Arrival arrival)
      : head_(head), node_(node), epoch_(epoch), rank_(rank), arrival_(std::move(arrival)) {}
  ~RemoteWorker() override { RemoteWorker::end(); }

  void send(std::string_view message) override { arrival_.port->send(message); }
  bool receive(std::string& message, int timeout_ms) override {
    return arrival_.port->receive(message, timeout_ms);
  }
  std::string place() const override { return arrival_.place; }
  std::string end() override {
    const std::lock_guard lock(ending_);
    if (how_.empty()) {
      how_ = head_.end_worker(node_, epoch_, rank_);
      arrival_.port->shut();
    }
    return how_;
  }

 private:
  RankPort& head_;
  const int node_;
  const uint64_t epoch_;
  const int rank_;
  const Arrival arrival_;
  std::mutex ending_;
  std::string how_;
};

void log_ready(const std::vector<std::string>& answers, const std::vector<WorkerReport>& workers) {
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    const Json ready = parse_json(answers[rank], "worker");
    log(LogLevel::info,
        "rank {} ({}) is ready after {:.2f} s: weights {:.1f} MiB, KV cache {:.1f} MiB; matrix "
        "products: {}",
        rank,
        workers[rank].place,
        static_cast<double>(workers[rank].load_us) * 1e-6,
        ready.at("weight_bytes").get<double>() / kMib,
        ready.at("kv_bytes").get<double>() / kMib,
        ready.at("kernels").get<std::string>());
  }
}

}  // namespace

WorkerGroup::WorkerGroup(const ParallelOptions& options, std::vector<WorkerJob> jobs, Planner plan)
    : options_(options), plan_(std::move(plan)), secret_(read_secret(options)) {
  take_layout(options_, std::move(jobs));
  if (options_.nnodes > 1)
    port_ = std::make_unique<RankPort>(HostPort::parse(options_.head_addr, "--head-addr"),
                                       Credentials{secret_, build_id()},
                                       options_.nnodes,
                                       jobs_.front().model);
}

void WorkerGroup::take_layout(const ParallelOptions& layout, std::vector<WorkerJob> jobs) {
  layout_ = layout;
  jobs_ = std::move(jobs);
  for (WorkerJob& job : jobs_) {
    job.has_tcp_ranks = meets_over_tcp(layout_, job.place.tensor_group());
    job.has_tcp_stages = meets_over_tcp(layout_, job.place.stage_group());
    // The others learn both on their own machine.
    if (node_of(layout_, job.place.rank) != 0) continue;
    job.listen_host = listen_host_of(layout_);
    job.secret = secret_;
  }
}

void WorkerGroup::await_machines() {
  const std::vector<int> all = further_nodes(options_), now = further_nodes(layout_);
  if (now.size() < all.size() && port_->missing(all).empty()) {
    log(LogLevel::info, "every machine is there again: all {} ranks are used", options_.world());
    take_layout(options_, plan_(options_));
  }
  if (!has_started_ || options_.replan_after_s == 0)
    return port_->await_nodes(
        further_nodes(layout_), has_started_ ? kNodesAgainMs : kNodesMs, should_stop_);
  try {
    port_->await_nodes(further_nodes(layout_), options_.replan_after_s * 1'000, should_stop_);
  } catch (const Error& e) {
    const std::vector<int> lost = port_->missing(all);
    const ParallelOptions fewer = without_nodes(options_, lost);
    if (e.code() != ErrorCode::unavailable || fewer.world() == 0) throw;
    log(LogLevel::warn,
        "node {} is lost: going on with {} of {} ranks (tensor {}, stages {})",
        fmt::join(lost, ", "),
        fewer.world(),
        options_.world(),
        fewer.tensor_parallel_size,
        fewer.pipeline_parallel_size);
    take_layout(fewer, plan_(fewer));
  }
}

std::vector<std::unique_ptr<WorkerHandle>> WorkerGroup::spawn(uint64_t epoch) {
  if (port_) {
    await_machines();
    for (const int node : further_nodes(layout_))
      port_->start_workers(node, epoch, ranks_of_node(layout_, node));
  }
  const SharedRegions regions(jobs_.front().place);
  std::vector<std::unique_ptr<WorkerHandle>> workers;
  for (const int rank : ranks_of_node(layout_, 0))
    workers.push_back(start_local_worker(
        rank, regions.fds_of(jobs_[static_cast<size_t>(rank)].place), MustDial::no));
  for (const int node : further_nodes(layout_))
    for (const int rank : ranks_of_node(layout_, node))
      workers.push_back(std::make_unique<RemoteWorker>(
          *port_, node, epoch, rank, port_->await_worker(node, epoch, rank, should_stop_)));
  return workers;
}

std::unique_ptr<Executor> WorkerGroup::start(uint64_t epoch) {
  auto workers = spawn(epoch);
  const RankPlace& world = jobs_.front().place;
  auto group =
      std::make_unique<GroupExecutor>(std::move(workers),
                                      GroupOptions{.epoch = epoch,
                                                   .answering_rank = world.answering_rank(),
                                                   .timeout_ms = jobs_.front().timeout_ms,
                                                   .should_stop = &should_stop_});
  std::vector<std::string> jobs;
  for (WorkerJob job : jobs_) {
    job.epoch = epoch;
    jobs.push_back(job.to_text());
  }
  Json addresses = Json::array();
  for (const std::string& answer : group->ask(jobs, kBeginMs))
    addresses.push_back(parse_json(answer, "worker").at("address"));
  group->ask(std::vector<std::string>(jobs.size(), addresses.dump()), kMeetMs);
  const auto answers = group->ask(std::vector<std::string>(jobs.size(), "{}"), kLoadMs);
  log_ready(answers, group->workers());
  has_started_ = true;
  return group;
}

}  // namespace quern

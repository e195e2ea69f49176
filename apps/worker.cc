// SPDX-License-Identifier: Apache-2.0
// quern worker: one rank. Started by a front, never by hand: it asks for nothing and is told
// everything on the socket that it inherits as descriptor 3; what it shares with other ranks lies
// behind. It ends with that socket.
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "build_id.h"
#include "child_process.h"
#include "comm/handshake.h"
#include "commands.h"
#include "cpu_sets.h"
#include "engine/worker_loop.h"
#include "exit_codes.h"
#include "fd_port.h"
#include "models/registry.h"
#include "nn/owned_ctx.h"
#include "rank_links.h"
#include "start_log.h"
#include "weights/checkpoint.h"
#include "worker_job.h"

namespace quern {
namespace {

constexpr int kControlFd = 3, kFirstRegionFd = 4;
constexpr int kDialMs = 10'000;

// The model's part that one rank holds, and what it computes with. Members are made in the order of
// the three questions that a front asks.
class RankWork {
 public:
  explicit RankWork(WorkerLoop& loop) : loop_(loop) {}

  // The job: sees that this machine has the model and is what the front takes it for.
  std::string begin(const std::string& text, const std::optional<WorkerSummons>& summons) {
    job_ = WorkerJob::parse(text);
    if (summons) {
      job_.model = summons->model;
      job_.listen_host = summons->listen_host;
      job_.threads = summons->threads;
      job_.cpus = summons->cpus;
      job_.secret = summons->secret;
    }
    set_log_level(parse_log_level(job_.log_level));
    bind_process(job_.cpus);
    checkpoint_ = open_checkpoint(job_.model, job_.tensor_names);
    if (mark_of(*checkpoint_) != job_.model_mark)
      fail(ErrorCode::data_loss,
           "{}: is not the model that the head serves: names, shapes or configuration differ",
           job_.model);
    maker_.emplace(job_, kFirstRegionFd);
    return Json{{"address", maker_->address()}}.dump();
  }

  // Before anything costly: can all of them talk?
  std::string meet(const std::string& text) {
    links_ = maker_->make(parse_json(text, "addresses").get<std::vector<std::string>>());
    if (links_.ranks) {
      meet_all(*links_.ranks, "tensor ranks");
      counted_ranks_.emplace(*links_.ranks, loop_.progress());
    }
    if (links_.stages) {
      meet_all(*links_.stages, "stages");
      counted_stages_.emplace(*links_.stages, loop_.progress());
    }
    return "{}";
  }

  std::string load() {
    ctx_.emplace(OwnedCtx::Options{.threads = job_.threads,
                                   .isa = std::min(job_.isa, probe_topology().isa),
                                   .activation = job_.activation,
                                   .arena_bytes = job_.arena_bytes});
    if (counted_ranks_) ctx_->ctx().ranks = &*counted_ranks_;
    if (counted_stages_) ctx_->ctx().stages = &*counted_stages_;
    BuilderOptions building;
    building.int8_head = job_.int8_head;
    building.output = job_.output;
    building.expert_memory_bytes = job_.expert_memory_bytes;
    building.stage = job_.place.stage_shard();
    const Builder builder(checkpoint_, ctx_->ctx(), job_.place.shard(), building);
    std::shared_ptr<const Model> model = make_model(builder);
    malloc_trim(0);  // what unpacking left in the heap
    log_experts(builder);
    KvSpec spec = model->kv_spec();
    spec.dtype = job_.kv_dtype;
    auto kv = std::make_shared<KvCache>(spec, job_.num_blocks, job_.block_size, Device::cpu());
    const Json ready = {{"weight_bytes", model->weight_bytes()},
                        {"kv_bytes", kv->bytes()},
                        {"kernels", builder.kernels()}};
    runner_.emplace(RankParts{std::move(model), ctx_->ctx(), std::move(kv)});
    return ready.dump();
  }

  StepRunner& runner() { return *runner_; }

 private:
  WorkerLoop& loop_;
  WorkerJob job_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::optional<LinkMaker> maker_;
  RankLinks links_;
  std::optional<CountingCommunicator> counted_ranks_, counted_stages_;
  std::optional<OwnedCtx> ctx_;
  std::optional<StepRunner> runner_;
};

int serve_rank(FdPort& port, const std::optional<WorkerSummons>& summons) {
  WorkerLoop loop(port, [] { _exit(kExitTemporary); });
  RankWork rank(loop);
  try {
    loop.answer(rank.begin(loop.next_setup(), summons));
    loop.answer(rank.meet(loop.next_setup()));
    loop.next_setup();
    loop.answer(rank.load());
  } catch (const std::exception&) {
    loop.refuse(step_error(std::current_exception()));
    loop.next_setup();  // the front has heard it, and will end this process
  }
  loop.serve(rank.runner());
  return kExitTemporary;
}

// Goes to the head for its job, as the node that started this process says.
std::unique_ptr<FdPort> dial(const WorkerSummons& summons) {
  Socket socket = connect_to(HostPort::parse(summons.head, "head"), kDialMs);
  const Json hello = {{"rank", summons.rank}, {"epoch", summons.epoch}, {"pid", getpid()}};
  introduce(socket, {summons.secret, build_id()}, hello.dump(), kDialMs);
  return std::make_unique<FdPort>(socket.release());
}

int work(pid_t parent, bool must_dial) {
  if (!die_with(parent, SIGKILL)) return kExitTemporary;
  auto port = std::make_unique<FdPort>(kControlFd);
  std::optional<WorkerSummons> summons;
  std::unique_ptr<FdPort> node;  // stays open: this process ends with its node by die_with
  if (must_dial) {
    std::string text;
    while (!port->receive(text, kDialMs)) {
    }
    summons = WorkerSummons::parse(text);
    node = std::exchange(port, dial(*summons));
  }
  return serve_rank(*port, summons);
}

}  // namespace

void add_worker_command(CLI::App& parent, int& exit_code) {
  auto front = std::make_shared<pid_t>(0);
  auto must_dial = std::make_shared<bool>(false);
  CLI::App* command =
      parent.add_subcommand("worker", "one rank of a model; started by serve, not by hand");
  command->group("");  // not in the list of commands
  command->add_option("--parent", *front, "process that starts it")->required();
  command->add_flag("--dial", *must_dial, "its job is to be had from a head on another machine");
  command->callback([front, must_dial, &exit_code] { exit_code = work(*front, *must_dial); });
}

}  // namespace quern

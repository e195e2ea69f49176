// SPDX-License-Identifier: Apache-2.0
// What ranks as processes stand on: places, jobs, cores, ports, children.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/error.h"
#include "cluster.h"
#include "cpu_sets.h"
#include "fd_port.h"
#include "rank_links.h"
#include "worker_job.h"

namespace quern {
namespace {

using testing::ElementsAre;
using Sets = std::vector<std::vector<int>>;

TEST(Cluster, RanksAreDealtOutInOrder) {
  ParallelOptions o;
  o.tensor_parallel_size = 2;
  o.pipeline_parallel_size = 3;
  o.nnodes = 2;
  o.head_addr = "10.0.0.1:1";
  o.validate_parallel();
  EXPECT_THAT(ranks_of_node(o, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(ranks_of_node(o, 1), ElementsAre(3, 4, 5));
  for (int rank = 0; rank < 6; ++rank) EXPECT_EQ(node_of(o, rank), rank / 3);
  const RankPlace place = place_of(o, 3);
  EXPECT_EQ(place.stage(), 1);
  EXPECT_EQ(place.tensor_rank(), 1);
  EXPECT_EQ(place.answering_rank(), 4);
  EXPECT_THAT(place.tensor_group(), ElementsAre(2, 3));
  EXPECT_THAT(place.stage_group(), ElementsAre(1, 3, 5));
  EXPECT_TRUE(meets_over_tcp(o, place.tensor_group()));
  EXPECT_FALSE(meets_over_tcp(o, place_of(o, 0).tensor_group()));
  o.rank_transport = "shm";
  EXPECT_THROW(meets_over_tcp(o, place.tensor_group()), Error);
  EXPECT_EQ(listen_host_of(o), "10.0.0.1");
}

TEST(Cluster, MachinesMayHaveUnequallyManyRanks) {
  ParallelOptions o;
  o.tensor_parallel_size = 4;
  o.nnodes = 3;
  o.node_ranks = {0, 3, 1};
  o.head_addr = "10.0.0.1:1";
  o.validate_parallel();
  EXPECT_THAT(ranks_of_node(o, 0), ElementsAre());
  EXPECT_THAT(ranks_of_node(o, 1), ElementsAre(0, 1, 2));
  EXPECT_EQ(node_of(o, 0), 1);
  EXPECT_EQ(node_of(o, 3), 2);
  EXPECT_THAT(further_nodes(o), ElementsAre(1, 2));
}

TEST(Cluster, AMachineThatIsLostLeavesItsRanksToNobody) {
  ParallelOptions o;
  o.tensor_parallel_size = 4;
  o.tensor_parallel_split = {1, 2, 3, 4};
  o.nnodes = 3;
  o.node_ranks = {1, 2, 1};
  ParallelOptions fewer = without_nodes(o, {1});
  EXPECT_EQ(fewer.world(), 2);
  EXPECT_THAT(fewer.node_ranks, ElementsAre(1, 0, 1));
  EXPECT_THAT(fewer.tensor_parallel_split, ElementsAre(1, 4));
  EXPECT_THAT(further_nodes(fewer), ElementsAre(2));
  EXPECT_EQ(node_of(fewer, 1), 2);

  o.tensor_parallel_split.clear();
  o.tensor_parallel_size = o.pipeline_parallel_size = 2;
  fewer = without_nodes(o, {1});  // two ranks: still two stages
  EXPECT_EQ(fewer.pipeline_parallel_size, 2);
  EXPECT_EQ(fewer.tensor_parallel_size, 1);
  fewer = without_nodes(o, {2});  // three do not divide
  EXPECT_EQ(fewer.pipeline_parallel_size, 1);
  EXPECT_EQ(fewer.tensor_parallel_size, 3);
}

TEST(Cluster, WrongFlagsAreNamed) {
  const auto refused = [](void (*change)(ParallelOptions&)) {
    ParallelOptions o;
    o.tensor_parallel_size = 2;
    change(o);
    try {
      o.validate_parallel();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused([](ParallelOptions&) {}), "");
  EXPECT_THAT(refused([](ParallelOptions& o) { o.data_parallel_size = o.nnodes = 2; }),
              testing::HasSubstr("--data-parallel-size"));
  EXPECT_THAT(refused([](ParallelOptions& o) { o.tensor_parallel_split = {1}; }),
              testing::HasSubstr("--tensor-parallel-split"));
  EXPECT_THAT(refused([](ParallelOptions& o) { o.pipeline_parallel_size = 33; }),
              testing::HasSubstr("64 ranks"));
  EXPECT_THAT(refused([](ParallelOptions& o) { o.node_rank = 1; }),
              testing::HasSubstr("--node-rank"));
  EXPECT_THAT(refused([](ParallelOptions& o) { o.nnodes = 2; }), testing::HasSubstr("--head-addr"));
  EXPECT_THAT(refused([](ParallelOptions& o) { o.nnodes = 3; }), testing::HasSubstr("--nnodes"));
  EXPECT_THAT(refused([](ParallelOptions& o) {
                o.node_ranks = {1, 1};
              }),
              testing::HasSubstr("--node-ranks"));
  EXPECT_THAT(refused([](ParallelOptions& o) {
                o.nnodes = 3;
                o.node_ranks = {1, 0, 1};
                o.head_addr = "10.0.0.1:1";
              }),
              testing::HasSubstr("only the head"));
}

TEST(Cluster, SecretsThatOthersMayReadAreNone) {
  const std::string path = testing::TempDir() + "quern_secret";
  ParallelOptions o;
  EXPECT_NE(read_secret(o), read_secret(o));  // one machine: a new one each time
  o.nnodes = 2;
  EXPECT_THROW(read_secret(o), Error);
  o.cluster_secret_file = path;
  const auto write = [&](const char* text, mode_t mode) {
    std::ofstream(path) << text;
    chmod(path.c_str(), mode);
  };
  write("0123456789abcdef\n", 0600);
  EXPECT_EQ(read_secret(o), "0123456789abcdef");
  chmod(path.c_str(), 0640);
  EXPECT_THROW(read_secret(o), Error);
  write("short", 0600);
  EXPECT_THROW(read_secret(o), Error);
  std::filesystem::remove(path);
  EXPECT_THROW(read_secret(o), Error);
}

TEST(CpuSets, CoresAreDividedNodeByNode) {
  const std::vector<int> cpus = {0, 1, 2, 3, 4, 5}, nodes = {0, 1, 0, 1, 0, 1};
  EXPECT_EQ(divide_cpus(cpus, nodes, 2), (Sets{{0, 2, 4}, {1, 3, 5}}));
  EXPECT_EQ(divide_cpus(cpus, nodes, 3), (Sets{{0, 2}, {4, 1}, {3, 5}}));
  EXPECT_EQ(divide_cpus(cpus, nodes, 7), Sets(7));
  std::set<int> all;
  for (const auto& set : divide_cpus(cpus, nodes, 4)) {
    EXPECT_FALSE(set.empty());
    all.insert(set.begin(), set.end());
  }
  EXPECT_EQ(all.size(), 6u);
  EXPECT_EQ(nodes_of(cpus).size(), 6u);
}

TEST(WorkerJob, TravelsAsText) {
  WorkerJob job;
  job.epoch = 7;
  job.place = {.rank = 3, .tensor_size = 2, .stages = 2, .split = {2, 1}};
  job.model = "/models/m";
  job.model_mark = ~uint64_t{0};
  job.cpus = {4, 5};
  job.secret = std::string("\0\xff\x10", 3);
  const WorkerJob back = WorkerJob::parse(job.to_text());
  EXPECT_EQ(back.to_text(), job.to_text());
  EXPECT_EQ(back.secret, job.secret);
  EXPECT_EQ(back.model_mark, job.model_mark);
  for (const char* wrong : {"", "[]", "{}", R"({"epoch": "x"})"})
    EXPECT_THROW(WorkerJob::parse(wrong), Error) << wrong;
  EXPECT_THROW(WorkerSummons::parse("{}"), Error);
}

// Ranks that are threads, with connections as processes have them.
TEST(LinkMaker, RanksFindEachOtherAmongStrangers) {
  const auto job_of = [](int rank) {
    WorkerJob job;
    job.place = {.rank = rank, .tensor_size = 2, .stages = 2, .split = {}};
    job.has_tcp_ranks = job.has_tcp_stages = true;
    job.listen_host = "127.0.0.1";
    job.secret = "0123456789abcdef";
    job.timeout_ms = 10'000;
    return job;
  };
  std::vector<std::unique_ptr<LinkMaker>> makers;
  std::vector<std::string> addresses;
  for (int rank = 0; rank < 4; ++rank) {
    makers.push_back(std::make_unique<LinkMaker>(job_of(rank), 1'000));
    addresses.push_back(makers.back()->address());
  }
  Socket stranger = connect_to(HostPort::parse(addresses[0], "test"), 1'000);
  stranger.write_all(std::string(200, 'x'), INT64_MAX);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 4; ++rank)
    threads.emplace_back([&, rank] {
      const RankLinks links = makers[static_cast<size_t>(rank)]->make(addresses);
      float sum = static_cast<float>(rank);
      links.ranks->all_reduce_sum({&sum, 1});
      EXPECT_EQ(sum, rank < 2 ? 1 : 5);
      links.stages->all_reduce_sum({&sum, 1});
      EXPECT_EQ(sum, 6);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(LinkMaker, ThePairThatCannotTalkIsNamed) {
  WorkerJob job;
  job.place = {.rank = 1, .tensor_size = 2, .stages = 1, .split = {}};
  job.has_tcp_ranks = true;
  job.listen_host = "127.0.0.1";
  job.secret = "0123456789abcdef";
  std::string nobody;
  {
    const TcpListener gone({"127.0.0.1", 0});
    nobody = gone.address().text();
  }
  LinkMaker maker(job, 1'000);
  try {
    maker.make({nobody, maker.address()});
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unavailable);
    EXPECT_THAT(
        e.what(),
        testing::HasSubstr("ranks 0 and 1 cannot talk to each other: cannot connect to " + nobody));
  }
}

class FdPortTest : public testing::Test {
 protected:
  FdPortTest() {
    int fds[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    near_ = std::make_unique<FdPort>(fds[0]);
    far_fd_ = fds[1];
  }
  std::unique_ptr<FdPort> near_;
  int far_fd_;
};

TEST_F(FdPortTest, MessagesAreWhole) {
  FdPort far(far_fd_);
  const std::string large(5'000'000, 'x');
  std::thread sender([&] {
    far.send("");
    far.send("one");
    far.send(large);
  });
  std::string got;
  for (const std::string& expected : {std::string(), std::string("one"), large}) {
    while (!near_->receive(got, 100)) {
    }
    EXPECT_EQ(got, expected);
  }
  sender.join();
  EXPECT_FALSE(near_->receive(got, 1));
  far.shut();
  EXPECT_THROW(near_->receive(got, 100), Error);
  EXPECT_THROW(near_->send("x"), Error);
}

TEST_F(FdPortTest, APieceIsKeptUntilTheRestComes) {
  std::string got;
  EXPECT_EQ(write(far_fd_, "\x03\0\0\0ab", 6), 6);
  EXPECT_FALSE(near_->receive(got, 1));
  EXPECT_EQ(write(far_fd_, "c", 1), 1);
  EXPECT_TRUE(near_->receive(got, 100));
  EXPECT_EQ(got, "abc");
  EXPECT_EQ(write(far_fd_, "\xff\xff\xff\xff", 4), 4);
  EXPECT_THROW(near_->receive(got, 100), Error);
  close(far_fd_);
}

}  // namespace
}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "launcher_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "parallel_options.h"

namespace quern {
namespace {

std::optional<LaunchPlace> place_in(const std::map<std::string, std::string>& environment) {
  return launch_place([&](const char* name) {
    const auto it = environment.find(name);
    return it == environment.end() ? nullptr : it->second.c_str();
  });
}

TEST(LauncherEnvironment, EachLauncherIsRead) {
  EXPECT_FALSE(place_in({}));
  EXPECT_FALSE(place_in({{"SLURM_NTASKS", "4"}}));  // an allocation, no step

  const auto slurm = place_in({{"SLURM_NTASKS", "4"},
                               {"SLURM_PROCID", "2"},
                               {"SLURM_STEP_NODELIST", "node[03-04,9],gpu1"},
                               {"SLURM_JOB_NODELIST", "other"}});
  ASSERT_TRUE(slurm);
  EXPECT_EQ(slurm->launcher, "Slurm");
  EXPECT_EQ(slurm->count, 4);
  EXPECT_EQ(slurm->number, 2);
  EXPECT_EQ(slurm->head_host, "node03");

  const auto mpi = place_in({{"SLURM_NTASKS", "1"},
                             {"SLURM_PROCID", "0"},
                             {"OMPI_COMM_WORLD_SIZE", "3"},
                             {"OMPI_COMM_WORLD_RANK", "1"}});
  ASSERT_TRUE(mpi);
  EXPECT_EQ(mpi->count, 3);
  EXPECT_EQ(mpi->head_host, "");

  const auto kubernetes = place_in({{"LWS_GROUP_SIZE", "2"},
                                    {"LWS_WORKER_INDEX", "1"},
                                    {"LWS_LEADER_ADDRESS", "quern-0.quern.default"}});
  ASSERT_TRUE(kubernetes);
  EXPECT_EQ(kubernetes->head_host, "quern-0.quern.default");

  EXPECT_THROW(place_in({{"PMI_SIZE", "two"}, {"PMI_RANK", "0"}}), Error);
}

TEST(LauncherEnvironment, FirstHostOfAList) {
  EXPECT_EQ(first_host("node7"), "node7");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("a,b[1-2]"), "a");
  EXPECT_EQ(first_host("n[1,4-9]"), "n1");
  EXPECT_EQ(first_host("n[08]-eth,x"), "n08-eth");
  EXPECT_EQ(first_host("n["), "n[");
  EXPECT_EQ(first_host(""), "");
}

class NnodesAuto : public testing::Test {
 protected:
  ~NnodesAuto() override {
    for (const char* name : {"SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"}) unsetenv(name);
  }
  static ParallelOptions parsed(const std::string& words) {
    ParallelOptions o;
    CLI::App app;
    add_parallel_options(app, o);
    app.parse(words);
    return o;
  }
};

TEST_F(NnodesAuto, IsWhatTheLauncherSays) {
  EXPECT_THROW(parsed("--nnodes auto"), CLI::ValidationError);
  setenv("SLURM_NTASKS", "2", 1);
  setenv("SLURM_PROCID", "1", 1);
  setenv("SLURM_STEP_NODELIST", "n[5-6]", 1);
  ParallelOptions o = parsed("--nnodes auto");
  EXPECT_EQ(o.nnodes, 2);
  EXPECT_EQ(o.node_rank, 1);
  EXPECT_EQ(o.head_addr, "n5:29500");
  o = parsed("--head-addr 10.0.0.1:5 --nnodes auto --node-rank 0");  // what is said stands
  EXPECT_EQ(o.head_addr, "10.0.0.1:5");
  EXPECT_EQ(o.node_rank, 0);
  EXPECT_EQ(parsed("").nnodes, 1);  // nothing is read unasked
}

}  // namespace
}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// What every transport owes its ranks. Ranks are threads here; memory and sockets are those of
// processes.
#include "comm/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/shm_communicator.h"
#include "comm/tcp_communicator.h"

namespace quern {
namespace {

using Body = std::function<void(Communicator& self)>;
using Runner = void (*)(int size, const Body& body);

constexpr int kTimeoutMs = 10'000;

void run_all(int size, const std::function<void(int rank)>& one) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back(one, rank);
  for (std::thread& thread : threads) thread.join();
}

void run_shm(int size, const Body& body) {
  const int fd = make_shm_region(size);
  run_all(size, [&](int rank) { body(*open_shm_communicator(fd, rank, size, kTimeoutMs)); });
  close(fd);
}

void run_tcp(int size, const Body& body) {
  std::vector<std::vector<Socket>> peers(static_cast<size_t>(size));
  for (auto& row : peers) row.resize(static_cast<size_t>(size));
  TcpListener listener({"127.0.0.1", 0});
  for (size_t low = 0; low < peers.size(); ++low)
    for (size_t high = low + 1; high < peers.size(); ++high) {
      peers[high][low] = connect_to(listener.address(), kTimeoutMs);
      peers[low][high] = listener.accept(kTimeoutMs);
    }
  run_all(size, [&](int rank) {
    body(*make_tcp_communicator(std::move(peers[static_cast<size_t>(rank)]), rank, kTimeoutMs));
  });
}

class Transport : public testing::TestWithParam<Runner> {};

// A value whose sum depends on the order in which it is taken.
float value_of(int rank, int64_t i) {
  return std::sin(static_cast<float>(rank * 7919 + i)) *
         std::pow(10.0F, static_cast<float>((rank * 3 + i) % 7));
}

TEST_P(Transport, SumsAreThoseOfOneOrder) {
  for (const int size : {1, 2, 3, 5})
    for (const int64_t count : {0, 1, 7, 4096, 70'001, 200'000})
      GetParam()(size, [&](Communicator& self) {
        std::vector<float> values, expected;
        for (int64_t i = 0; i < count; ++i) {
          values.push_back(value_of(self.rank(), i));
          float sum = value_of(0, i);
          for (int r = 1; r < size; ++r) sum += value_of(r, i);
          expected.push_back(sum);
        }
        self.all_reduce_sum(values);
        EXPECT_EQ(values, expected) << size << " ranks, " << count << " values";
      });
}

TEST_P(Transport, TheLargestOfAll) {
  GetParam()(3, [](Communicator& self) {
    std::vector<float> values = {static_cast<float>(self.rank()), -1, 5};
    values[1] = -static_cast<float>(self.rank()) - 1;
    self.all_reduce_max(values);
    EXPECT_EQ(values, (std::vector<float>{2, -1, 5}));
  });
}

TEST_P(Transport, UnevenPartsLieOneBehindTheOther) {
  const std::vector<int64_t> counts = {70'000, 0, 3, 131'072};
  GetParam()(4, [&](Communicator& self) {
    for (int round = 0; round < 3; ++round) {
      std::vector<float> own(static_cast<size_t>(counts[static_cast<size_t>(self.rank())]));
      std::iota(own.begin(), own.end(), static_cast<float>(self.rank() * 10 + round));
      std::vector<float> all(self.rank() == 0 ? 201'075 : 0);
      self.gather(own, counts, all);
      if (self.rank() != 0) continue;
      size_t at = 0;
      for (size_t r = 0; r < counts.size(); ++r)
        for (int64_t i = 0; i < counts[r]; ++i)
          ASSERT_EQ(all[at++], static_cast<float>(static_cast<int64_t>(r) * 10 + round + i));
    }
  });
}

TEST_P(Transport, PairsAreConcernedAlone) {
  GetParam()(3, [](Communicator& self) {
    std::vector<float> values(100'000, static_cast<float>(self.rank() + 1));
    if (self.rank() == 0) self.send(1, values);
    if (self.rank() == 1) {
      self.receive(0, values);
      for (float& v : values) v += 1;
      self.send(2, values);
    }
    if (self.rank() == 2) self.receive(1, values);
    EXPECT_EQ(values, std::vector<float>(100'000, self.rank() == 0 ? 1.F : 2.F));
    self.barrier();
  });
}

TEST_P(Transport, ManyShortTurnsInARow) {
  GetParam()(3, [](Communicator& self) {
    float sum = 0;
    for (int i = 0; i < 3'000; ++i) {
      float value = static_cast<float>(i % 10 + self.rank());
      self.all_reduce_sum({&value, 1});
      sum += value;
      if (i % 500 == 0) self.barrier();
    }
    EXPECT_EQ(sum, 3'000 * 3 * 5.5F);
  });
}

INSTANTIATE_TEST_SUITE_P(Shm, Transport, testing::Values(run_shm));
INSTANTIATE_TEST_SUITE_P(Tcp, Transport, testing::Values(run_tcp));

TEST(ShmCommunicator, NamesWhoDidNotCome) {
  const int fd = make_shm_region(3);
  run_all(2, [&](int rank) {
    const auto self = open_shm_communicator(fd, rank, 3, 20);
    float value = 1;
    try {
      self->all_reduce_sum({&value, 1});
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::unavailable);
      EXPECT_THAT(e.what(), testing::HasSubstr("rank 2 did not come"));
    }
    EXPECT_THROW(self->receive(2, {&value, 1}), Error);
  });
  close(fd);
}

TEST(TcpCommunicator, NamesWhoDidNotCome) {
  TcpListener listener({"127.0.0.1", 0});
  std::vector<Socket> peers(2);
  peers[1] = connect_to(listener.address(), kTimeoutMs);
  Socket other = listener.accept(kTimeoutMs);
  const auto self = make_tcp_communicator(std::move(peers), 0, 20);
  float value = 1;
  const auto failure = [&] {
    try {
      self->all_reduce_sum({&value, 1});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::unavailable);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(failure(), "rank 1 did not come within 0.0 s");
  other = Socket();
  EXPECT_THAT(failure(), testing::HasSubstr("rank 1"));
}

}  // namespace
}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Communicator: how the ranks of one group meet. Every rank of the group calls the same operations
// in the same order with the same sizes; floats travel in host memory.
//
// Each wait has a deadline: a rank that does not come throws unavailable, naming the ranks that
// were waited for. After that the group is of no more use.
#pragma once

#include <cstdint>
#include <span>

namespace quern {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // In place. Each element is summed in float32 from rank 0 to the last, so that every rank gets
  // the same bits, over every transport and at every arrival order.
  virtual void all_reduce_sum(std::span<float> values) = 0;
  virtual void all_reduce_max(std::span<float> values) = 0;
  // Rank r gives counts[r] floats; rank 0 gets them one behind the other in `all`, which the others
  // leave empty.
  virtual void gather(std::span<const float> own,
                      std::span<const int64_t> counts,
                      std::span<float> all) = 0;
  // One rank to another; the other ranks are not concerned.
  virtual void send(int to, std::span<const float> values) = 0;
  virtual void receive(int from, std::span<float> values) = 0;
  virtual void barrier() = 0;
};

}  // namespace quern

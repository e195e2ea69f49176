// SPDX-License-Identifier: Apache-2.0
// Experts that lie in the checkpoint until a token chooses them, for models larger than memory:
// of Kimi-K2's bytes 97 % are experts, of which a token reads one in 48. What was packed stays
// until its room is needed; the one that was chosen longest ago goes first.
#pragma once

#include <compare>
#include <cstdint>
#include <list>
#include <map>
#include <memory>

#include "base/function_ref.h"
#include "nn/linear.h"

namespace quern {

struct Expert {
  Linear gate_up, down;
  int64_t bytes() const;  // as packed
};

// Of one rank, for all its layers. Used by the thread that runs the model.
class ExpertMemory {
 public:
  struct Key {
    int64_t layer = 0, expert = 0;
    auto operator<=>(const Key&) const = default;
  };
  // What was packed so far.
  struct Loads {
    int64_t count = 0, bytes = 0;  // bytes as packed
    double seconds = 0;
  };

  // At most so many bytes are held, and whatever is in use.
  explicit ExpertMemory(int64_t most_bytes) : most_bytes_(most_bytes) {}

  int64_t most_bytes() const { return most_bytes_; }
  int64_t held_bytes() const { return held_bytes_; }
  const Loads& loads() const { return loads_; }

  int64_t next_layer() { return layers_++; }  // for keys
  bool holds(Key key) const { return held_.contains(key); }
  // The expert, which `load` makes if it is not held; about `bytes` are freed before. If `load`
  // throws, the memory is as if the expert had not been asked for, less what made room.
  std::shared_ptr<const Expert> take(Key key, int64_t bytes, FunctionRef<Expert()> load);

 private:
  struct Held {
    std::shared_ptr<const Expert> expert;
    std::list<Key>::iterator place;  // in order_
  };
  void shrink_to(int64_t bytes);

  int64_t most_bytes_, held_bytes_ = 0, layers_ = 0;
  Loads loads_;
  std::map<Key, Held> held_;
  std::list<Key> order_;  // the longest ago first
};

}  // namespace quern

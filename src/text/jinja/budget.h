// SPDX-License-Identifier: Apache-2.0
// What one rendering may spend. The rendering that runs on a thread puts its Budget there;
// everything that computes draws on it, so that no signature has to carry it. Without one (while a
// template is compiled) nothing is counted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "text/jinja/chat_template.h"

namespace quern::jinja {

class Budget {
 public:
  explicit Budget(const TemplateLimits& limits);
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Each throws exhausted where the limit is passed. Call them before the work, not after.
  static void charge(int64_t steps);
  // A string of so many bytes is about to be made. Costs a step for every 32 bytes, which bounds
  // memory too.
  static void charge_bytes(size_t bytes);

 private:
  friend class Nesting;
  TemplateLimits limits_;
  int64_t steps_ = 0;
  int nesting_ = 0;
  Budget* outer_;
};

// One level of recursion, for as long as it lives; throws exhausted where it goes too deep. A
// nested expression or statement is one level, a call of a macro many, so TemplateLimits::max_depth
// calls and kLevelsPerCall levels each are allowed.
class Nesting {
 public:
  Nesting();
  ~Nesting();
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  Budget* budget_;
};

}  // namespace quern::jinja

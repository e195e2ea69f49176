// SPDX-License-Identifier: Apache-2.0
// Trace: a folder that tells a run, one page a step, and steps through it by links. The pages hold
// no script and load nothing from elsewhere; whatever a model or a phone says stands there as text.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/action.h"

namespace quern::agent {

struct TraceStep {
  int number = 1;
  std::string png{};  // empty: there was no picture
  std::string app{}, thought{}, words{};
  std::string raw{};      // the answer as it came
  std::string outcome{};  // "done", or what became of it
  std::optional<Action> action{};
  double model_s = 0;
};

class Trace {
 public:
  // Makes the folder, readable by its owner alone: screens are private. Throws invalid_argument if
  // it exists and has something in it, unavailable if it cannot be made.
  Trace(std::string folder, std::string goal, std::string model);

  // Each step is on disk when this returns, and the list of steps with it.
  void add(const TraceStep& step);
  void end(const std::string& how);
  const std::string& folder() const { return folder_; }

 private:
  void write(const std::string& name, const std::string& bytes) const;
  void write_index() const;

  std::string folder_, goal_, model_, end_;
  std::vector<TraceStep> steps_;  // the last one with its picture
};

// The page of a step; for tests.
std::string step_page(const TraceStep& step, const std::string& goal, bool has_next);

}  // namespace quern::agent

// SPDX-License-Identifier: Apache-2.0
// The loop: screen -> model -> action -> phone, until the model finishes or a limit is met.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "agent/action.h"
#include "agent/adb.h"
#include "agent/conversation.h"
#include "agent/phone.h"
#include "agent/trace.h"

namespace quern::agent {

// The person in front of the phone. Each question has a deadline of its own; no answer is no.
class Operator {
 public:
  virtual ~Operator() = default;
  virtual bool confirms(const std::string& deed) = 0;
  // Asks to do something on the phone; false: not done.
  virtual bool takes_over(const std::string& what) = 0;
  virtual std::string answer(const std::string& question) = 0;  // empty: none
  virtual void hears(const TraceStep& step) = 0;                // what was done
};

// Answers a chat completion's body. Throws unavailable if nobody does.
using AskModel = std::function<ModelAnswer(const Json& request)>;

enum class SensitivePolicy { ask, deny, allow };

struct RunOptions {
  std::string goal{}, model{}, system_prompt{};
  int most_steps = 100;
  int64_t settle_ms = 1000;  // between an action and the next screen
  size_t kept_turns = 0;     // of the conversation; 0: all
  SensitivePolicy policy = SensitivePolicy::ask;
  bool reads_labels = true;  // asks the phone what is about to be tapped
  SamplingOfPhone sampling{};
};

enum class RunEnd {
  finished,  // the model says so
  refused,   // the user, or the policy, did not allow an action
  step_limit,
  no_action,       // answers that are no action, three in a row
  stuck,           // the same action on the same screen, five times in a row
  not_taken_over,  // nobody did what only a person can
};

struct RunResult {
  RunEnd end = RunEnd::finished;
  std::string message;  // the model's last words, or what happened
  int steps = 0;
};

// What a run works with. All must outlive it.
struct RunParts {
  Phone& phone;
  AskModel ask_model;
  Operator& person;
  Pause pause;
  Trace* trace = nullptr;  // null: none is kept
};

// Throws DeviceLost where the phone does not come back, what ask_model throws, cancelled.
RunResult run_phone_agent(const RunParts& parts, const RunOptions& options);

}  // namespace quern::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/phone_agent.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "agent/sensitive.h"
#include "base/clock.h"
#include "base/hash.h"

namespace quern::agent {
namespace {

constexpr int kMostMisses = 3, kMostRepeats = 5, kMostTakeOvers = 3;

class Run {
 public:
  Run(const RunParts& parts, const RunOptions& options)
      : parts_(parts),
        options_(options),
        conversation_(options.system_prompt, options.goal, options.kept_turns) {}

  RunResult to_end() {
    try {
      while (!result_) one_step();
    } catch (const Error& error) {
      if (parts_.trace != nullptr) parts_.trace->end(error.what());
      throw;
    }
    if (parts_.trace != nullptr) parts_.trace->end(result_->message);
    return *result_;
  }

 private:
  void one_step();
  bool see();
  void ask();
  void act();
  std::string act_on_phone(const Action& action);
  std::string act_with_person(const Action& action);
  bool is_allowed(const Action& action);
  std::string label_of(const Action& action);
  void count_repeats();
  void record(const std::string& outcome);
  void end(RunEnd how, std::string message) {
    result_ = RunResult{.end = how, .message = std::move(message), .steps = steps_};
  }
  void tell_model(const std::string& key, const std::string& text) {
    if (!text.empty()) to_tell_.emplace_back(key, text);
  }

  const RunParts& parts_;
  const RunOptions& options_;
  Conversation conversation_;
  const MonotonicClock clock_;

  int steps_ = 0, misses_ = 0, repeats_ = 0;
  Screen screen_;
  std::string app_, last_deed_;
  ModelAnswer raw_;
  ReadAnswer answer_;
  double model_s_ = 0;
  ExtraInfo to_tell_;  // beside the next screen
  std::optional<RunResult> result_;
};

// A screen with something on it. Protected pages show none: a person does what is due there.
bool Run::see() {
  for (int i = 0;; ++i) {
    screen_ = parts_.phone.look();
    if (!screen_.is_black) break;
    const std::string why =
        screen_.why_missing.empty() ? "the screen is black" : screen_.why_missing;
    const std::string what = "The phone shows nothing (" + why +
                             "): it is locked, or the page is protected, such as one for a payment";
    if (i == kMostTakeOvers || !parts_.person.takes_over(what)) {
      end(RunEnd::not_taken_over, what + "; nobody took over");
      return false;
    }
  }
  app_ = parts_.phone.current_app();
  return true;
}

void Run::ask() {
  conversation_.show(screen_.png, app_, to_tell_);
  to_tell_.clear();
  const int64_t begin_us = clock_.now_us();
  raw_ = parts_.ask_model(conversation_.request(options_.model, options_.sampling));
  model_s_ = static_cast<double>(clock_.now_us() - begin_us) * 1e-6;
  answer_ = read_answer(raw_);
  conversation_.answered(answer_.thought, answer_.words);
}

void Run::record(const std::string& outcome) {
  TraceStep step{.number = steps_,
                 .png = screen_.png,
                 .app = app_,
                 .thought = answer_.thought,
                 .words = answer_.words,
                 .raw = raw_.content,
                 .outcome = outcome,
                 .action = answer_.action,
                 .model_s = model_s_};
  parts_.person.hears(step);
  if (parts_.trace != nullptr) parts_.trace->add(step);
}

void Run::count_repeats() {
  const std::string deed = answer_.words + hash_bytes(std::as_bytes(std::span(screen_.png))).hex();
  repeats_ = deed == last_deed_ ? repeats_ + 1 : 1;
  last_deed_ = deed;
}

std::string Run::label_of(const Action& action) {
  if (!options_.reads_labels || !is_touch(action.kind)) return {};
  return parts_.phone.label_at(action.at, screen_);
}

bool Run::is_allowed(const Action& action) {
  if (options_.policy == SensitivePolicy::allow) return true;
  const std::string deed = question_about(action, answer_.thought, label_of(action));
  if (deed.empty()) return true;
  if (options_.policy == SensitivePolicy::ask && parts_.person.confirms(deed)) return true;
  end(RunEnd::refused, "not allowed: " + deed);
  return false;
}

std::string Run::act_on_phone(const Action& action) {
  try {
    return parts_.phone.perform(action, screen_);
  } catch (const DeviceLost& lost) {
    parts_.phone.reconnect();
    // Never done a second time: it may have happened. The model sees the screen and decides.
    return format("the link to the phone broke ({}); the action may not have happened",
                  lost.message());
  }
}

// What a person does or says; notes concern nobody but the trace.
std::string Run::act_with_person(const Action& action) {
  if (action.kind == ActionKind::take_over) {
    if (parts_.person.takes_over(action.text)) return {};
    end(RunEnd::not_taken_over, "the model asked for a person: " + action.text);
    return "nobody took over";
  }
  if (action.kind == ActionKind::interact)
    tell_model("user", parts_.person.answer(action.text.empty() ? answer_.thought : action.text));
  return {};
}

void Run::act() {
  const Action& action = *answer_.action;
  if (action.kind == ActionKind::finish) {
    end(RunEnd::finished, action.text);
    return record("finished");
  }
  count_repeats();
  if (repeats_ >= kMostRepeats) {
    end(RunEnd::stuck, format("the same action on the same screen {} times", repeats_));
    return record("not done: it was done before, and nothing changed");
  }
  if (!is_allowed(action)) return record("not allowed");
  std::string failure = act_with_person(action);
  if (failure.empty()) failure = act_on_phone(action);
  tell_model("note", failure);
  record(failure.empty() ? "done" : failure);
  parts_.pause(action.kind == ActionKind::wait ? static_cast<int64_t>(action.wait_s * 1000)
                                               : options_.settle_ms);
}

void Run::one_step() {
  if (steps_ >= options_.most_steps)
    return end(RunEnd::step_limit, format("not finished after {} steps", steps_));
  if (!see()) return;
  ++steps_;
  ask();
  if (answer_.action) {
    misses_ = 0;
    return act();
  }
  record(answer_.why_not);
  tell_model("note", answer_.why_not);
  if (++misses_ >= kMostMisses)
    end(RunEnd::no_action,
        format("{}, {} times in a row; the last one: {:.200}",
               answer_.why_not,
               misses_,
               raw_.content));
}

}  // namespace

RunResult run_phone_agent(const RunParts& parts, const RunOptions& options) {
  return Run(parts, options).to_end();
}

}  // namespace quern::agent

// SPDX-License-Identifier: Apache-2.0
// quern agent phone: a model works a phone over ADB.
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <thread>

#include "agent/model_client.h"
#include "agent/phone_agent.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "command_line.h"
#include "commands.h"
#include "exit_codes.h"

namespace quern {
namespace {

struct AgentCommand {
  std::string goal, base_url = "http://127.0.0.1:8000/v1", model, api_key;
  std::string adb = "adb", device;
  std::string language = "zh", system_prompt_file, sensitive = "ask", trace;
  std::vector<std::string> apps;
  bool has_no_trace = false, has_no_labels = false, constrains = false;
  int max_steps = 100, kept_turns = 0, max_tokens = 3000;
  double settle_s = 1, device_timeout_s = 20, reconnect_timeout_s = 30, answer_timeout_s = 300;
  int request_timeout_s = 300;
};

std::atomic<bool> is_agent_stopped = false;

// While it lives, SIGINT and SIGTERM end waits instead of the program.
class StopMark {
 public:
  StopMark() {
    struct sigaction action = {};
    action.sa_handler = [](int) { is_agent_stopped = true; };
    sigaction(SIGINT, &action, &before_int_);
    sigaction(SIGTERM, &action, &before_term_);
  }
  ~StopMark() {
    sigaction(SIGINT, &before_int_, nullptr);
    sigaction(SIGTERM, &before_term_, nullptr);
  }
  StopMark(const StopMark&) = delete;
  StopMark& operator=(const StopMark&) = delete;

 private:
  struct sigaction before_int_ = {}, before_term_ = {};
};

void check_stopped() {
  if (is_agent_stopped) fail(ErrorCode::cancelled, "interrupted");
}

void pause_ms(int64_t ms) {
  constexpr int64_t kSliceMs = 20;
  for (int64_t left = ms; left > 0; left -= kSliceMs) {
    check_stopped();
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(left, kSliceMs)));
  }
}

// What a model or a phone says, without what a terminal would obey: control characters, also those
// of two bytes (U+0080 to U+009F).
std::string harmless(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool is_c1 =
        c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    i += is_c1;
    out += c < ' ' || c == 0x7F || is_c1 ? ' ' : text[i];
  }
  return out;
}

// A person at the terminal, or a program at the other end of standard input.
class TerminalOperator final : public agent::Operator {
 public:
  explicit TerminalOperator(int64_t timeout_ms) : timeout_ms_(timeout_ms) {}

  bool confirms(const std::string& deed) override {
    const std::string said = ask("Allow this? " + deed + "\n[y/N] ");
    return said == "y" || said == "Y" || said == "yes";
  }
  bool takes_over(const std::string& what) override {
    bool has_answer = false;
    const std::string said =
        ask("Your turn: " + what + "\nDo it on the phone, then press Enter (q ends the run): ",
            &has_answer);
    return has_answer && said != "q" && said != "n";
  }
  std::string answer(const std::string& question) override {
    return ask("The model asks: " + question + "\n> ");
  }
  void hears(const agent::TraceStep& step) override {
    std::fprintf(stderr,
                 "%d  [%s]  %s\n   %s\n",
                 step.number,
                 harmless(step.app).c_str(),
                 harmless(step.thought).c_str(),
                 harmless(step.words).c_str());
    if (step.outcome != "done") std::fprintf(stderr, "   -> %s\n", harmless(step.outcome).c_str());
  }

 private:
  // One line; empty if none comes in time.
  std::string ask(const std::string& question, bool* has_answer = nullptr) const {
    // The last line break is the question's own layout.
    const size_t layout = question.rfind('\n');
    std::fprintf(stderr,
                 "%s%s",
                 harmless(std::string_view(question).substr(0, layout)).c_str(),
                 question.substr(layout).c_str());
    std::string line;
    const bool is_whole = read_line(line);
    if (!is_whole) std::fprintf(stderr, "(no answer)\n");
    if (has_answer != nullptr) *has_answer = is_whole;
    return is_whole ? line : std::string();
  }
  // Byte by byte, so that nothing of the next answer is taken.
  bool read_line(std::string& line) const {
    constexpr int kSliceMs = 50;
    const MonotonicClock clock;
    const int64_t end_us = clock.now_us() + timeout_ms_ * 1000;
    while (clock.now_us() < end_us) {
      check_stopped();
      pollfd in{STDIN_FILENO, POLLIN, 0};
      if (poll(&in, 1, kSliceMs) <= 0) continue;
      char c = 0;
      if (read(STDIN_FILENO, &c, 1) <= 0) return false;
      if (c == '\n') return true;
      line += c;
    }
    return false;
  }

  int64_t timeout_ms_;
};

std::tm today() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_r(&now, &out);
  return out;
}

std::string default_trace() {
  char text[64];
  const std::tm now = today();
  std::strftime(text, sizeof text, "phone-trace-%Y%m%d-%H%M%S", &now);
  return text;
}

std::string prompt_of(const AgentCommand& c) {
  if (c.system_prompt_file.empty()) return agent::system_prompt(c.language, today());
  return agent::with_date(read_file(c.system_prompt_file, size_t{1} << 20), c.language, today());
}

agent::AppTable apps_of(const AgentCommand& c) {
  std::vector<agent::AppName> own;
  for (const std::string& pair : c.apps) {
    const size_t at = std::min(pair.rfind('='), pair.size());
    own.push_back({.name = pair.substr(0, at),
                   .package = at < pair.size() ? pair.substr(at + 1) : std::string()});
  }
  return agent::AppTable(std::move(own));
}

agent::SensitivePolicy policy_of(const std::string& name) {
  if (name == "allow") return agent::SensitivePolicy::allow;
  return name == "deny" ? agent::SensitivePolicy::deny : agent::SensitivePolicy::ask;
}

agent::Adb connect_to(const AgentCommand& c) {
  const agent::AdbRunner run = [adb = c.adb](const std::vector<std::string>& arguments,
                                             int64_t timeout_ms) {
    std::vector<std::string> words = {adb};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return agent::run_command(words, {.timeout_ms = timeout_ms, .stop = &is_agent_stopped});
  };
  const auto ms = [](double seconds) { return static_cast<int64_t>(seconds * 1000); };
  return agent::Adb(run,
                    pause_ms,
                    {.serial = c.device,
                     .timeout_ms = ms(c.device_timeout_s),
                     .reconnect_ms = ms(c.reconnect_timeout_s)});
}

// The server's name of the model; the first that it lists, if none is asked for.
std::string model_of(const AgentCommand& c, const agent::Endpoint& endpoint) {
  constexpr int64_t kListS = 30;
  if (!c.model.empty()) return c.model;
  return agent::find_served(
             endpoint, "", "/models", {.timeout_s = kListS, .stop = &is_agent_stopped})
      .id;
}

int show_end(const agent::RunResult& result, const agent::Trace* trace) {
  if (trace != nullptr)
    std::fprintf(stderr, "every step: %s/index.html\n", trace->folder().c_str());
  if (result.end == agent::RunEnd::finished) {
    std::printf("%s\n", harmless(result.message).c_str());
    return kExitDone;
  }
  std::fprintf(stderr, "quern: %s\n", harmless(result.message).c_str());
  return kExitFailed;
}

int work_phone(const AgentCommand& c) {
  set_log_level(LogLevel::warn);
  const StopMark mark;
  const agent::Endpoint endpoint{.base_url = agent::openai_base_url(c.base_url),
                                 .api_key = c.api_key};
  agent::RunOptions options{.goal = c.goal,
                            .model = {},
                            .system_prompt = prompt_of(c),
                            .most_steps = c.max_steps,
                            .settle_ms = static_cast<int64_t>(c.settle_s * 1000),
                            .kept_turns = static_cast<size_t>(c.kept_turns),
                            .policy = policy_of(c.sensitive),
                            .reads_labels = !c.has_no_labels,
                            .sampling = {.max_tokens = c.max_tokens}};
  agent::AppTable apps = apps_of(c);
  agent::Adb adb = connect_to(c);
  options.model = model_of(c, endpoint);
  std::optional<agent::Trace> trace;
  if (!c.has_no_trace)
    trace.emplace(c.trace.empty() ? default_trace() : c.trace, c.goal, options.model);
  agent::Phone phone(adb, pause_ms, std::move(apps));
  TerminalOperator person(static_cast<int64_t>(c.answer_timeout_s * 1000));
  const agent::AskOptions asking{
      .limits = {.timeout_s = c.request_timeout_s, .stop = &is_agent_stopped},
      .constrains = c.constrains};
  const agent::RunParts parts{
      .phone = phone,
      .ask_model =
          [&](const Json& body) { return agent::ask_model(endpoint, body, asking, pause_ms); },
      .person = person,
      .pause = pause_ms,
      .trace = trace ? &*trace : nullptr};
  return show_end(agent::run_phone_agent(parts, options), parts.trace);
}

void add_model_flags(CLI::App& command, AgentCommand& c) {
  command
      .add_option(
          "--base-url", c.base_url, "an OpenAI-compatible server; without a path, /v1 is meant")
      ->capture_default_str();
  command.add_option("--model", c.model, "the model's name there; without it the first one listed");
  command.add_option("--api-key", c.api_key, "sent as a bearer token");
  command
      .add_option("--language",
                  c.language,
                  "of the system prompt: zh (AutoGLM-Phone-9B) or en (its Multilingual sister)")
      ->capture_default_str()
      ->check(CLI::IsMember({"zh", "en"}));
  command.add_option("--system-prompt",
                     c.system_prompt_file,
                     "a file with another system prompt; {date} in it becomes today's date");
  command.add_option("--max-tokens", c.max_tokens, "of one answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command
      .add_option("--keep-turns", c.kept_turns, "earlier steps that the model still sees; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 10000));
  command.add_flag("--constrain",
                   c.constrains,
                   "have quern's server hold answers to one whole action (structured_outputs)");
  command.add_option("--request-timeout", c.request_timeout_s, "seconds for one answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
}

void add_device_flags(CLI::App& command, AgentCommand& c) {
  const CLI::Range seconds(0.1, 86400.0);
  command.add_option("--adb", c.adb, "the adb client")->capture_default_str();
  command.add_option(
      "--device",
      c.device,
      "a serial of adb devices, or HOST:PORT to connect to; without it the only one there is");
  command
      .add_option("--app",
                  c.apps,
                  "NAME=PACKAGE: a name by which the model may launch an app (may be repeated)")
      ->allow_extra_args(false);
  command.add_option("--device-timeout", c.device_timeout_s, "seconds for one command")
      ->capture_default_str()
      ->check(seconds);
  command
      .add_option(
          "--reconnect-timeout", c.reconnect_timeout_s, "seconds until a lost phone is given up")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86400.0));
  command.add_option("--settle", c.settle_s, "seconds between an action and the next look")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 60.0));
}

void add_run_flags(CLI::App& command, AgentCommand& c) {
  command.add_option("--max-steps", c.max_steps, "looks at the screen, at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command
      .add_option(
          "--sensitive", c.sensitive, "what pays, sends or deletes: ask first, deny, or allow")
      ->capture_default_str()
      ->check(CLI::IsMember({"ask", "deny", "allow"}));
  command.add_flag("--no-labels",
                   c.has_no_labels,
                   "do not ask the phone what is about to be tapped: faster, and then only the "
                   "model's own words show what is sensitive");
  command
      .add_option("--answer-timeout",
                  c.answer_timeout_s,
                  "seconds for your answer to a question; then it is no")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 86400.0));
  command.add_option("--trace", c.trace, "a new folder for a page of each step (phone-trace-TIME)");
  command.add_flag("--no-trace", c.has_no_trace, "keep no pages");
}

}  // namespace

void add_agent_command(CLI::App& parent, int& exit_code) {
  CLI::App* command = parent.add_subcommand("agent", "a model that works a phone");
  command->require_subcommand(1);
  auto c = std::make_shared<AgentCommand>();
  CLI::App* phone = command->add_subcommand(
      "phone",
      "works an Android phone over adb towards GOAL with AutoGLM-Phone behind a server; prints the "
      "model's last word (exit code 1: not finished; 75: phone or server gone)");
  phone->add_option("GOAL", c->goal, "what is to be done, in words")->required();
  add_model_flags(*phone, *c);
  add_device_flags(*phone, *c);
  add_run_flags(*phone, *c);
  read_environment(*phone);
  phone->callback([c, &exit_code] { exit_code = work_phone(*c); });
}

}  // namespace quern

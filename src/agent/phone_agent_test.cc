// SPDX-License-Identifier: Apache-2.0
#include "agent/phone_agent.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agent/fake_adb.h"
#include "base/error_of.h"

namespace quern::agent {
namespace {

struct ScriptedPerson final : Operator {
  bool says_yes = false;
  std::vector<std::string> asked;
  std::vector<std::string> outcomes;

  bool confirms(const std::string& deed) override {
    asked.push_back(deed);
    return says_yes;
  }
  bool takes_over(const std::string& what) override {
    asked.push_back(what);
    return says_yes;
  }
  std::string answer(const std::string& question) override {
    asked.push_back(question);
    return "blue";
  }
  void hears(const TraceStep& step) override { outcomes.push_back(step.outcome); }
};

struct AgentRig {
  FakeAdb fake;
  Adb adb{fake.runner(), fake.pause(), {.serial = "s"}};
  Phone phone{adb, fake.pause(), AppTable(std::vector<AppName>())};
  ScriptedPerson person;
  std::vector<std::string> answers;  // the last one again and again
  std::vector<Json> requests;
  std::string label = "Wi-Fi", picture = a_picture();
  RunOptions options{
      .goal = "goal", .model = "m", .system_prompt = "s", .most_steps = 10, .settle_ms = 0};

  AgentRig() {
    fake.reply = [this](const std::string& line) {
      if (line.starts_with("'screencap'")) return picture;
      if (line.starts_with("'uiautomator'"))
        return "<node text=\"" + label +
               "\" content-desc=\"\" clickable=\"true\" bounds=\"[0,0][9999,9999]\">";
      return std::string();
    };
  }
  RunResult run() {
    const RunParts parts{.phone = phone,
                         .ask_model =
                             [this](const Json& body) {
                               requests.push_back(body);
                               const size_t i = std::min(requests.size(), answers.size()) - 1;
                               return ModelAnswer{
                                   .content = answers[i], .reasoning = {}, .calls = {}};
                             },
                         .person = person,
                         .pause = fake.pause()};
    return run_phone_agent(parts, options);
  }
  size_t taps() const {
    return static_cast<size_t>(
        std::count_if(fake.lines.begin(), fake.lines.end(), [](const std::string& line) {
          return line.starts_with("'input' 'tap'");
        }));
  }
  std::string last_text() const {
    return requests.back()["messages"].back()["content"].back()["text"];
  }
};

constexpr const char *kTap = "do(action=\"Tap\", element=[1,2])",
                     *kFinish = "finish(message=\"ok\")";

TEST(PhoneAgent, EndsWhenTheModelFinishes) {
  AgentRig rig;
  rig.answers = {kTap, kFinish};
  const RunResult result = rig.run();
  EXPECT_EQ(result.end, RunEnd::finished);
  EXPECT_EQ(result.message, "ok");
  EXPECT_EQ(result.steps, 2);
  EXPECT_EQ(rig.person.outcomes, (std::vector<std::string>{"done", "finished"}));
  EXPECT_TRUE(rig.person.asked.empty());
}

TEST(PhoneAgent, AsksBeforeWhatPays) {
  AgentRig rig;
  rig.answers = {kTap, kFinish};
  rig.label = "Pay 3.00";
  EXPECT_EQ(rig.run().end, RunEnd::refused);
  EXPECT_EQ(rig.person.asked, std::vector<std::string>{"Tap \"Pay 3.00\""});
  EXPECT_EQ(rig.taps(), 0u);
  rig.options.policy = SensitivePolicy::deny;
  rig.requests.clear();
  EXPECT_EQ(rig.run().end, RunEnd::refused);
  EXPECT_EQ(rig.person.asked.size(), 1u);
  rig.options.policy = SensitivePolicy::ask;
  rig.person.says_yes = true;
  rig.requests.clear();
  EXPECT_EQ(rig.run().end, RunEnd::finished);
  EXPECT_EQ(rig.taps(), 1u);
}

TEST(PhoneAgent, LimitsAreKept) {
  AgentRig rig;
  rig.answers = {kTap, "do(action=\"Back\")", kTap, "do(action=\"Back\")"};
  rig.options.most_steps = 3;
  EXPECT_EQ(rig.run().end, RunEnd::step_limit);
  EXPECT_EQ(rig.requests.size(), 3u);

  AgentRig stuck;
  stuck.answers = {kTap};
  EXPECT_EQ(stuck.run().end, RunEnd::stuck);
  EXPECT_EQ(stuck.taps(), 4u);

  AgentRig mute;
  mute.answers = {"no"};
  EXPECT_EQ(mute.run().end, RunEnd::no_action);
  EXPECT_EQ(mute.requests.size(), 3u);
  EXPECT_EQ(mute.last_text(),
            "** Screen Info **\n\n{\"current_app\": \"System Home\", \"note\": \"the answer holds "
            "no action\"}");
}

TEST(PhoneAgent, ABrokenLinkDoesNothingTwice) {
  AgentRig rig;
  rig.answers = {kTap, kFinish};
  rig.options.reads_labels = false;
  rig.fake.lost = {false, false, true};  // screencap, dumpsys, the tap
  EXPECT_EQ(rig.run().end, RunEnd::finished);
  EXPECT_EQ(rig.taps(), 1u);
  EXPECT_NE(rig.last_text().find("may not have happened"), std::string::npos);
}

TEST(PhoneAgent, ProtectedPagesAreHandedOver) {
  AgentRig rig;
  rig.answers = {kFinish};
  rig.picture = "Failed to take screenshot. Status: -1";
  EXPECT_EQ(rig.run().end, RunEnd::not_taken_over);
  EXPECT_TRUE(rig.requests.empty());
  ASSERT_EQ(rig.person.asked.size(), 1u);
  rig.person.says_yes = true;  // but nothing changes
  rig.person.asked.clear();
  EXPECT_EQ(rig.run().end, RunEnd::not_taken_over);
  EXPECT_EQ(rig.person.asked.size(), 3u);
}

TEST(PhoneAgent, APersonsAnswerReachesTheModel) {
  AgentRig rig;
  rig.answers = {"Which one?\ndo(action=\"Interact\")", kFinish};
  rig.run();
  EXPECT_EQ(rig.person.asked, std::vector<std::string>{"Which one?"});
  EXPECT_NE(rig.last_text().find("\"user\": \"blue\""), std::string::npos);
}

}  // namespace
}  // namespace quern::agent

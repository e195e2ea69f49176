// SPDX-License-Identifier: Apache-2.0
#include "agent/phone.h"

#include <gtest/gtest.h>

#include "agent/fake_adb.h"

namespace quern::agent {
namespace {

struct PhoneRig {
  FakeAdb fake;
  Adb adb{fake.runner(), fake.pause(), {.serial = "s"}};
  Phone phone{adb, fake.pause(), AppTable(std::vector<AppName>())};
  Screen screen{.png = {}, .width = 1000, .height = 2000, .is_black = false, .why_missing = {}};

  // The lines that an action becomes.
  std::vector<std::string> lines_of(const Action& action) {
    fake.lines.clear();
    EXPECT_EQ(phone.perform(action, screen), "");
    return fake.lines;
  }
};

using Lines = std::vector<std::string>;

TEST(Phone, ActionsAreCommands) {
  PhoneRig rig;
  const Place at{500, 250}, to{500, 750};
  EXPECT_EQ(rig.lines_of({.kind = ActionKind::tap, .at = at}), Lines{"'input' 'tap' '500' '500'"});
  EXPECT_EQ(rig.lines_of({.kind = ActionKind::double_tap, .at = at}),
            (Lines{"'input' 'tap' '500' '500'", "'input' 'tap' '500' '500'"}));
  EXPECT_EQ(rig.fake.paused_ms, 100);
  EXPECT_EQ(rig.lines_of({.kind = ActionKind::long_press, .at = at}),
            Lines{"'input' 'swipe' '500' '500' '500' '500' '3000'"});
  EXPECT_EQ(rig.lines_of({.kind = ActionKind::swipe, .at = at, .to = to}),
            Lines{"'input' 'swipe' '500' '500' '500' '1500' '1000'"});
  EXPECT_EQ(rig.lines_of({.kind = ActionKind::back}), Lines{"'input' 'keyevent' '4'"});
  EXPECT_EQ(rig.lines_of({.kind = ActionKind::home}), Lines{"'input' 'keyevent' '3'"});
  EXPECT_EQ(
      rig.lines_of({.kind = ActionKind::launch, .app = "Settings"}),
      Lines{"'monkey' '-p' 'com.android.settings' '-c' 'android.intent.category.LAUNCHER' '1'"});
  for (const ActionKind kind : {ActionKind::note, ActionKind::call_api, ActionKind::wait})
    EXPECT_EQ(rig.lines_of({.kind = kind}), Lines{});
}

TEST(Phone, WhatFailsSaysWhy) {
  PhoneRig rig;
  EXPECT_NE(rig.phone.perform({.kind = ActionKind::launch, .app = "No; reboot"}, rig.screen)
                .find("no package"),
            std::string::npos);
  EXPECT_TRUE(rig.fake.lines.empty());
  rig.fake.reply = [](const std::string&) {
    return "** No activities found to run, monkey aborted.";
  };
  EXPECT_EQ(rig.phone.perform({.kind = ActionKind::launch, .app = "Settings"}, rig.screen),
            "com.android.settings is not installed");
  rig.fake.exit_code = "1";
  rig.fake.reply = [](const std::string&) { return "Killed\n"; };
  EXPECT_EQ(rig.phone.perform({.kind = ActionKind::back}, rig.screen), "input: Killed");
}

TEST(Phone, TypesByKeysOrByAdbKeyboard) {
  PhoneRig rig;
  const Action plain{.kind = ActionKind::type, .text = "it's $(x) 5%"};
  Lines lines = rig.lines_of(plain);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[1].starts_with("'input' 'keyevent' '123' '67' '67'"));
  EXPECT_EQ(lines[2], "'input' 'text' 'it'\\''s%s$(x)%s5%'");
  EXPECT_NE(
      rig.phone.perform({.kind = ActionKind::type, .text = "é"}, rig.screen).find("ADB Keyboard"),
      std::string::npos);
  EXPECT_NE(
      rig.phone.perform({.kind = ActionKind::type, .text = std::string(5000, 'x')}, rig.screen)
          .find("4096"),
      std::string::npos);

  rig.fake.reply = [](const std::string& line) {
    if (line.find("'list'") != std::string::npos)
      return "com.a/.B\ncom.android.adbkeyboard/.AdbIME\n";
    return line.find("'settings'") != std::string::npos ? "com.a/.B\n" : "";
  };
  lines = rig.lines_of({.kind = ActionKind::type, .text = "é\n$(x)"});
  EXPECT_EQ(lines[3], "'ime' 'set' 'com.android.adbkeyboard/.AdbIME'");
  EXPECT_EQ(lines[4], "'am' 'broadcast' '-a' 'ADB_CLEAR_TEXT'");
  EXPECT_EQ(lines[5], "'am' 'broadcast' '-a' 'ADB_INPUT_B64' '--es' 'msg' 'w6kKJCh4KQ=='");
  EXPECT_EQ(lines[6], "'ime' 'set' 'com.a/.B'");
}

}  // namespace
}  // namespace quern::agent

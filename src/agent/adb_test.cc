// SPDX-License-Identifier: Apache-2.0
#include "agent/adb.h"

#include <gtest/gtest.h>

#include "agent/app_table.h"
#include "agent/fake_adb.h"
#include "agent/screen.h"
#include "base/error_of.h"

namespace quern::agent {
namespace {

TEST(Adb, ChoosesTheOnlyPhone) {
  FakeAdb fake;
  EXPECT_EQ(Adb(fake.runner(), fake.pause(), {}).serial(), "serial1");
  fake.listing = "List of devices attached\na\tdevice\nb\tunauthorized\nc\tdevice\n";
  EXPECT_EQ(error_of([&] { Adb(fake.runner(), fake.pause(), {}); }),
            "invalid_argument: several phones are connected: choose one of a, c");
  fake.listing = "List of devices attached\nb\tunauthorized\n";
  EXPECT_NE(error_of([&] { Adb(fake.runner(), fake.pause(), {}); }).find("no phone is connected"),
            std::string::npos);
}

TEST(Adb, CommandsHaveAnEnd) {
  FakeAdb fake;
  Adb adb(fake.runner(), fake.pause(), {.serial = "s"});
  fake.reply = [](const std::string&) { return "quern-exit:5 is a text\n"; };
  fake.exit_code = "7";
  const Adb::ShellAnswer answer = adb.shell({"input", "text", "a'b"});
  EXPECT_EQ(answer.exit_code, 7);
  EXPECT_EQ(answer.out, "quern-exit:5 is a text\n");
  EXPECT_EQ(fake.lines.back(), "'input' 'text' 'a'\\''b'");
}

TEST(Adb, ALostLinkIsToldOrAskedAgain) {
  FakeAdb fake;
  Adb adb(fake.runner(), fake.pause(), {.serial = "h:1"});
  fake.lost = {true};
  EXPECT_THROW(adb.shell({"input", "tap", "1", "2"}), DeviceLost);
  EXPECT_EQ(fake.lines.size(), 1u);  // once
  fake.lost = {true};
  fake.others.clear();
  EXPECT_EQ(adb.ask({"dumpsys", "window"}).exit_code, 0);
  EXPECT_EQ(fake.others, (std::vector<std::string>{"disconnect", "connect", "get-state"}));
  fake.lost = {true, true};
  EXPECT_THROW(adb.ask({"dumpsys", "window"}), DeviceLost);
}

TEST(Adb, APhoneThatStaysAwayIsGivenUp) {
  FakeAdb fake;
  Adb adb(fake.runner(), fake.pause(), {.serial = "usb", .reconnect_ms = 2000});
  fake.state = "offline";
  fake.paused_ms = 0;
  EXPECT_NE(error_of([&] {
              adb.reconnect();
            }).find("usb: the phone is gone and did not come back within 2 s"),
            std::string::npos);
  EXPECT_EQ(fake.paused_ms, 2000);
}

TEST(Screen, PicturesThatEndEarlyAreTakenAnew) {
  FakeAdb fake;
  Adb adb(fake.runner(), fake.pause(), {.serial = "s"});
  const std::string png = a_picture();
  int asked = 0;
  fake.reply = [&](const std::string&) { return ++asked == 1 ? png.substr(0, 100) : png; };
  EXPECT_FALSE(capture_screen(adb).is_black);
  EXPECT_EQ(asked, 2);
  fake.reply = [](const std::string&) { return "Failed to take screenshot. Status: -1\n"; };
  EXPECT_EQ(capture_screen(adb).why_missing, "Failed to take screenshot. Status: -1");
  fake.reply = [](const std::string&) { return ""; };
  EXPECT_EQ(capture_screen(adb).why_missing, "no picture");
}

TEST(AppTable, NamesAndPackages) {
  const AppTable apps(
      std::vector<AppName>{{"My App", "org.me.app"}, {"Settings", "org.other.settings"}});
  EXPECT_EQ(apps.package_of("my app"), "org.me.app");
  EXPECT_EQ(apps.package_of("Settings"), "org.other.settings");
  EXPECT_EQ(apps.package_of("googlemaps"), "com.google.android.apps.maps");
  EXPECT_EQ(apps.package_of("com.some.thing"), "com.some.thing");
  EXPECT_EQ(apps.package_of("com.evil; reboot"), "");
  EXPECT_EQ(apps.package_of(""), "");
  EXPECT_EQ(apps.name_of("com.tencent.mm"), "WeChat");
  EXPECT_EQ(apps.name_of("com.some.thing"), "System Home");
  EXPECT_NE(error_of([] {
              AppTable(std::vector<AppName>{{"x", "a b.c"}});
            }).find("no package"),
            std::string::npos);
}

TEST(AppTable, TheAppInFront) {
  EXPECT_EQ(focused_package(
                "x\n  mCurrentFocus=Window{1 u0 com.android.settings/com.android.settings.Main}\n"),
            "com.android.settings");
  EXPECT_EQ(focused_package("mCurrentFocus=null\n mFocusedApp=ActivityRecord{9 u0 a.b/.C t7}\n"),
            "a.b");
  EXPECT_EQ(focused_package("mCurrentFocus=Window{1 u0 NotificationShade}"), "");
  EXPECT_EQ(focused_package(""), "");
}

}  // namespace
}  // namespace quern::agent

// SPDX-License-Identifier: Apache-2.0
// Commands and durations follow Open-AutoGLM's (phone_agent/adb/device.py).
#include "agent/phone.h"

#include <algorithm>

#include "agent/keyboard.h"
#include "agent/view_labels.h"

namespace quern::agent {
namespace {

constexpr int64_t kDoubleTapMs = 100, kWakeMs = 1000;
constexpr const char *kBackKey = "4", *kHomeKey = "3", *kWakeKey = "224";

// The further, the longer: one second to two.
int swipe_ms(Place from, Place to) {
  const int64_t dx = from.x - to.x, dy = from.y - to.y;
  return static_cast<int>(std::clamp<int64_t>((dx * dx + dy * dy) / 1000, 1000, 2000));
}

std::vector<std::string> swipe_words(Place from, Place to, int ms) {
  return {"input",
          "swipe",
          std::to_string(from.x),
          std::to_string(from.y),
          std::to_string(to.x),
          std::to_string(to.y),
          std::to_string(ms)};
}

}  // namespace

Phone::Phone(Adb& adb, Pause pause, AppTable apps)
    : adb_(adb), pause_(std::move(pause)), apps_(std::move(apps)) {}

Screen Phone::look() {
  Screen screen = capture_screen(adb_);
  if (!screen.is_black) return screen;
  adb_.ask({"input", "keyevent", kWakeKey});
  pause_(kWakeMs);
  return capture_screen(adb_);
}

std::string Phone::current_app() {
  return apps_.name_of(focused_package(adb_.ask({"dumpsys", "window"}).out));
}

std::string Phone::label_at(Place place, const Screen& screen) {
  try {
    return ask_label(adb_, pixels_of(place, screen.width, screen.height));
  } catch (const DeviceLost&) {  // the question is a slow one: it alone ends no run
    adb_.reconnect();
    return {};
  }
}

std::string Phone::run(const std::vector<std::string>& words) {
  const Adb::ShellAnswer answer = adb_.shell(words);
  CommandResult said;
  said.out = answer.out;
  return answer.exit_code == 0 ? std::string() : words[0] + ": " + told_by(said);
}

std::string Phone::tap(Place pixel) {
  return run({"input", "tap", std::to_string(pixel.x), std::to_string(pixel.y)});
}

std::string Phone::launch(const std::string& app) {
  const std::string package = apps_.package_of(app);
  if (package.empty())
    return format("no package is known for the app \"{:.60}\" (--app NAME=PACKAGE adds one)", app);
  const Adb::ShellAnswer answer =
      adb_.shell({"monkey", "-p", package, "-c", "android.intent.category.LAUNCHER", "1"});
  if (answer.exit_code != 0 || answer.out.find("No activities found") != std::string::npos)
    return package + " is not installed";
  return {};
}

std::string Phone::perform(const Action& action, const Screen& screen) {
  constexpr int kLongPressMs = 3000;
  const Place at = pixels_of(action.at, screen.width, screen.height);
  const Place to = pixels_of(action.to, screen.width, screen.height);
  switch (action.kind) {
    case ActionKind::launch:
      return launch(action.app);
    case ActionKind::tap:
      return tap(at);
    case ActionKind::double_tap: {
      const std::string failure = tap(at);
      pause_(kDoubleTapMs);
      return failure.empty() ? tap(at) : failure;
    }
    case ActionKind::long_press:
      return run(swipe_words(at, at, kLongPressMs));
    case ActionKind::swipe:
      return run(swipe_words(at, to, swipe_ms(at, to)));
    case ActionKind::type:
      return type_text(adb_, action.text);
    case ActionKind::back:
      return run({"input", "keyevent", kBackKey});
    case ActionKind::home:
      return run({"input", "keyevent", kHomeKey});
    default:
      return {};
  }
}

}  // namespace quern::agent

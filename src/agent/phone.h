// SPDX-License-Identifier: Apache-2.0
// Phone: actions as the commands of a phone.
#pragma once

#include <string>

#include "agent/action.h"
#include "agent/adb.h"
#include "agent/app_table.h"
#include "agent/screen.h"

namespace quern::agent {

class Phone {
 public:
  // `adb` must outlive it; `pause` is the clock of its waits.
  Phone(Adb& adb, Pause pause, AppTable apps);

  // Throws DeviceLost. A black screen is woken once before it is believed.
  Screen look();
  std::string current_app();
  // What stands at a place; empty: unknown, or the phone did not say in time.
  std::string label_at(Place place, const Screen& screen);

  // Does what is done to the phone itself; the rest (wait, take_over, note, …) changes nothing.
  // Returns why it could not be done, empty if it was. Throws DeviceLost.
  std::string perform(const Action& action, const Screen& screen);
  void reconnect() { adb_.reconnect(); }

 private:
  std::string launch(const std::string& app);
  std::string run(const std::vector<std::string>& words);
  std::string tap(Place pixel);

  Adb& adb_;
  Pause pause_;
  AppTable apps_;
};

}  // namespace quern::agent

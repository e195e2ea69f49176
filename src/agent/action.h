// SPDX-License-Identifier: Apache-2.0
// Action: one step that the model wants, and how its answer is read (AutoGLM-Phone's language,
// api/parsers/autoglm.cc).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quern::agent {

enum class ActionKind {
  launch,
  tap,
  double_tap,
  long_press,
  type,
  swipe,
  back,
  home,
  wait,
  take_over,  // the user does something: a login, a code
  interact,   // the user chooses
  note,
  call_api,
  finish,
};

// A place on the screen in thousandths of its width and height, from the upper left: 0 to 999.
struct Place {
  int x = 0, y = 0;
  bool operator==(const Place&) const = default;
};

struct Action {
  ActionKind kind = ActionKind::finish;
  Place at{}, to{};    // tap and its kin: at; swipe: both
  std::string app{};   // launch
  std::string text{};  // type; message of the others
  bool asks = false;   // tap: the model itself calls it important
  double wait_s = 0;   // wait
};

// A call of "do" or "finish" as servers hand it over that read the language themselves.
struct ActionCall {
  std::string name, arguments;  // JSON
};

// What a model answered.
struct ModelAnswer {
  std::string content, reasoning;
  std::vector<ActionCall> calls;
};

struct ReadAnswer {
  std::string thought, words;    // words: the action as it was written
  std::optional<Action> action;  // nothing: see why_not
  std::string why_not;
};

// Thought and action apart as the published client does it: at <answer>, else at the first
// finish(message=, else at the first do(action=. Exactly one action must be there, whole, of a
// known name, with places on the screen.
ReadAnswer read_answer(const ModelAnswer& answer);

std::string_view name_of(ActionKind kind);  // "Tap", "Long Press", …, "finish"

// A place in pixels: thousandths of the screen, cut off as the published client does it.
Place pixels_of(Place place, long long width, long long height);

}  // namespace quern::agent

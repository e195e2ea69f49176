// SPDX-License-Identifier: Apache-2.0
#include "agent/keyboard.h"

#include <span>

#include "agent/quoting.h"
#include "api/pooling_format.h"

namespace quern::agent {
namespace {

constexpr const char* kAdbKeyboard = "com.android.adbkeyboard/.AdbIME";
constexpr size_t kMostTypedBytes = 4096;

bool has_line(const std::string& text, const std::string& line) {
  for (size_t at = 0; (at = text.find(line, at)) != std::string::npos; ++at) {
    const size_t end = at + line.size();
    if ((at == 0 || text[at - 1] == '\n') &&
        (end == text.size() || text[end] == '\n' || text[end] == '\r'))
      return true;
  }
  return false;
}

// While it lives, ADB Keyboard is the phone's keyboard.
class BorrowedKeyboard {
 public:
  explicit BorrowedKeyboard(Adb& adb) : adb_(adb) {
    before_ = adb.ask({"settings", "get", "secure", "default_input_method"}).out;
    while (!before_.empty() && (before_.back() == '\n' || before_.back() == '\r'))
      before_.pop_back();
    if (before_ == kAdbKeyboard) return;
    adb.ask({"ime", "enable", kAdbKeyboard});
    adb.ask({"ime", "set", kAdbKeyboard});
  }
  // Not in a destructor: a lost phone is to be told of.
  void give_back() {
    if (before_.find('/') != std::string::npos && before_ != kAdbKeyboard)
      adb_.ask({"ime", "set", before_});
  }

 private:
  Adb& adb_;
  std::string before_;
};

void type_by_keyboard(Adb& adb, const std::string& text) {
  BorrowedKeyboard keyboard(adb);
  adb.shell({"am", "broadcast", "-a", "ADB_CLEAR_TEXT"});
  if (!text.empty()) {
    // Base64: the text cannot be anything but text, whatever reads the command on its way.
    const std::string coded = base64_of(std::as_bytes(std::span(text)));
    adb.shell({"am", "broadcast", "-a", "ADB_INPUT_B64", "--es", "msg", coded});
  }
  keyboard.give_back();
}

// To the end of the field, then so many deletions: no command of all Android versions selects all.
void clear_by_keys(Adb& adb) {
  constexpr int kMostDeleted = 100;
  std::vector<std::string> words = {"input", "keyevent", "123"};
  words.insert(words.end(), kMostDeleted, "67");
  adb.shell(words);
}

}  // namespace

std::string type_text(Adb& adb, const std::string& text) {
  if (text.size() > kMostTypedBytes)
    return format("the text is longer than {} bytes", kMostTypedBytes);
  if (has_line(adb.ask({"ime", "list", "-s", "-a"}).out, kAdbKeyboard)) {
    type_by_keyboard(adb, text);
    return {};
  }
  if (!is_typable(text))
    return "without ADB Keyboard on the phone only printable ASCII on one line can be typed";
  clear_by_keys(adb);
  for (const std::string& piece : input_text_pieces(text)) adb.shell({"input", "text", piece});
  return {};
}

}  // namespace quern::agent

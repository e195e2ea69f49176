// SPDX-License-Identifier: Apache-2.0
// JsonText: one JSON value, checked byte by byte while a model writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

class JsonText {
 public:
  enum class Step : uint8_t {
    more,    // the byte belongs to the value
    done,    // ... and is its last
    behind,  // the value ended in front of this byte
    broken,  // no JSON can go on with this byte
  };
  // Appends what the byte stands for to `out`: the byte, but for two slips that models make often,
  // which are mended: a control character inside a string, and a backslash that escapes nothing.
  Step step(char c, std::string& out);
  // The value that `text` is, mended; nothing if it is none, or one with something behind it.
  static std::optional<std::string> whole(std::string_view text);
  // The text has ended here: whether that completes a value (a number).
  bool ends_whole() const;

  static constexpr size_t kMaxDepth = 128;

 private:
  enum class At : uint8_t {
    value,
    first_key,
    key,
    colon,
    first_item,
    more_or_end,
    string,
    escape,
    unicode,
    literal,
    number,
    end
  };

  Step value(char c, std::string& out);
  Step in_string(char c, std::string& out);
  Step escape(char c, std::string& out);
  Step between(char c, std::string& out);
  Step behind_value();
  Step close(char c, std::string& out);
  bool is_number_whole() const;

  At at_ = At::value;
  std::vector<char> open_;    // '{', '['
  bool is_key_ = false;       // the string under way
  int digits_left_ = 0;       // of \uXXXX
  std::string_view literal_;  // what is still to come of true, false, null
  std::string number_;
};

}  // namespace quern

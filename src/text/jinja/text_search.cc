// SPDX-License-Identifier: Apache-2.0
// Methods of text that search, split and join it.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/strip.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

Value piece(const Value& self, std::string_view text) {
  return Value::string(std::string(text), self.is_markup());
}

Value list_of(const Value& self, const std::vector<std::string_view>& parts) {
  Budget::charge(static_cast<int64_t>(parts.size()));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(piece(self, part));
  return Value::list(std::move(items));
}

const std::string& required_text(const Bound& bound, size_t i) {
  const std::string* text = bound.text_or_null(i);
  if (!text) fail(ErrorCode::invalid_argument, "expected str, got NoneType");
  return *text;
}

// At runs of white space; the last part keeps what is left when `most` cuts are made.
std::vector<std::string_view> split_space(std::string_view text, Int most) {
  std::vector<std::string_view> parts;
  const auto skip = [&](size_t at, bool wanted) {
    for (size_t length = 0; at < text.size() && is_space(utf8_at(text, at, length)) == wanted;)
      at += length;
    return at;
  };
  for (size_t at = skip(0, true); at < text.size(); at = skip(at, true)) {
    if (most-- == 0) {
      parts.push_back(text.substr(at));
      break;
    }
    const size_t end = skip(at, false);
    parts.push_back(text.substr(at, end - at));
    at = end;
  }
  return parts;
}

size_t last_char(std::string_view text) {
  size_t at = text.size() - 1;
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

std::vector<std::string_view> rsplit_space(std::string_view text, Int most) {
  std::vector<std::string_view> parts;
  const auto trim = [&](bool wanted) {
    size_t length = 0;
    while (!text.empty() && is_space(utf8_at(text, last_char(text), length)) == wanted)
      text = text.substr(0, last_char(text));
  };
  for (trim(true); !text.empty(); trim(true)) {
    const std::string_view before = text;
    if (most-- == 0) {
      parts.push_back(text);
      break;
    }
    trim(false);
    parts.push_back(before.substr(text.size()));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text,
                                       std::string_view separator,
                                       Int most) {
  std::vector<std::string_view> parts;
  size_t at = 0;
  for (size_t found; most-- != 0 && (found = text.find(separator, at)) != std::string_view::npos;
       at = found + separator.size()) {
    parts.push_back(text.substr(at, found - at));
  }
  parts.push_back(text.substr(at));
  return parts;
}

std::vector<std::string_view> rsplit_at(std::string_view text,
                                        std::string_view separator,
                                        Int most) {
  std::vector<std::string_view> parts;
  for (size_t found; most-- != 0 && (found = text.rfind(separator)) != std::string_view::npos;
       text = text.substr(0, found)) {
    parts.push_back(text.substr(found + separator.size()));
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("split", a, {"sep", "maxsplit"});
  const std::string* separator = bound.text_or_null(0);
  const Int most = bound.integer(1, -1);
  const std::string& text = self.as_string();
  Budget::charge_bytes(text.size());
  if (!separator)
    return list_of(self, from_right ? rsplit_space(text, most) : split_space(text, most));
  if (separator->empty()) fail(ErrorCode::invalid_argument, "split: empty separator");
  return list_of(self,
                 from_right ? rsplit_at(text, *separator, most) : split_at(text, *separator, most));
}

Value lines(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("splitlines", a, {"keepends"});
  return list_of(self, split_lines(self.as_string(), bound.flag(0, false)));
}

template <bool from_right>
Value partition(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("partition", a, {"sep"}, 1);
  const std::string& separator = required_text(bound, 0);
  if (separator.empty()) fail(ErrorCode::invalid_argument, "partition: empty separator");
  const std::string_view text = self.as_string();
  const size_t found = from_right ? text.rfind(separator) : text.find(separator);
  const Value whole = self, none = piece(self, "");
  if (found == std::string_view::npos)
    return from_right ? Value::tuple({none, none, whole}) : Value::tuple({whole, none, none});
  return Value::tuple({piece(self, text.substr(0, found)),
                       piece(self, separator),
                       piece(self, text.substr(found + separator.size()))});
}

Value join(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("join", a, {"iterable"}, 1);
  const auto parts = iterate(bound.at(0));
  std::string out;
  for (size_t i = 0; i < parts->items.size(); ++i) {
    const Value& part = parts->items[i];
    if (!part.is_string()) {
      fail(ErrorCode::invalid_argument, "join: item {} is {}, expected str", i, part.type_name());
    }
    Budget::charge(1 +
                   static_cast<int64_t>((self.as_string().size() + part.as_string().size()) / 32));
    if (i > 0) out += self.as_string();
    out += part.as_string();
  }
  return Value::string(std::move(out), self.is_markup());
}

// The part of the text between two optional character positions, and how many characters stand
// before it.
struct Window {
  std::string_view text;
  Int start = 0;
  bool is_valid = true;  // start is not behind the end
};

Window window(const Value& self, const Bound& bound, size_t first) {
  const std::string_view text = self.as_string();
  Budget::charge_bytes(text.size());
  if (!bound[first] && !bound[first + 1]) return {text};
  const Int size = static_cast<Int>(char_count(text));
  const auto place = [&](size_t i, Int otherwise) {
    const Int at = bound.integer(i, otherwise);
    return at < 0 ? std::max<Int>(at + size, 0) : at;
  };
  const Int start = place(first, 0), stop = std::min(place(first + 1, size), size);
  if (start > size || start > stop) return {{}, start, false};
  const auto offset = [&](Int chars) {
    size_t at = 0, length = 0;
    for (; chars > 0; --chars, at += length) utf8_at(text, at, length);
    return at;
  };
  const size_t begin = offset(start);
  return {text.substr(begin, offset(stop) - begin), start};
}

template <bool from_right>
Int found_at(const Value& self, const Bound& bound) {
  const std::string& wanted = required_text(bound, 0);
  const Window view = window(self, bound, 1);
  const size_t found = !view.is_valid ? std::string_view::npos
                       : from_right   ? view.text.rfind(wanted)
                                      : view.text.find(wanted);
  return found == std::string_view::npos
             ? -1
             : view.start + static_cast<Int>(char_count(view.text.substr(0, found)));
}

template <bool from_right>
Value find(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("find", a, {"sub", "start", "end"}, 1);
  return Value::integer(found_at<from_right>(self, bound));
}

template <bool from_right>
Value index(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("index", a, {"sub", "start", "end"}, 1);
  const Int at = found_at<from_right>(self, bound);
  if (at < 0) fail(ErrorCode::invalid_argument, "index: substring not found");
  return Value::integer(at);
}

Value count(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("count", a, {"sub", "start", "end"}, 1);
  const std::string& wanted = required_text(bound, 0);
  const Window view = window(self, bound, 1);
  if (!view.is_valid) return Value::integer(0);
  if (wanted.empty()) return Value::integer(static_cast<Int>(char_count(view.text)) + 1);
  Int n = 0;
  for (size_t at = view.text.find(wanted); at != std::string_view::npos;
       at = view.text.find(wanted, at + wanted.size()))
    ++n;
  return Value::integer(n);
}

template <bool at_end>
Value has_affix(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound(at_end ? "endswith" : "startswith", a, {"affix", "start", "end"}, 1);
  const Window view = window(self, bound, 1);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) {
      fail(ErrorCode::invalid_argument,
           "startswith or endswith: expected str or a tuple of str, got {}",
           affix.type_name());
    }
    return view.is_valid && (at_end ? view.text.ends_with(affix.as_string())
                                    : view.text.starts_with(affix.as_string()));
  };
  require_defined(bound.at(0));
  if (!bound.at(0).is(Value::Kind::tuple)) return Value::boolean(matches(bound.at(0)));
  const auto& affixes = bound.at(0).items();
  return Value::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
}

template <bool at_end>
Value without_affix(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("removeprefix or removesuffix", a, {"affix"}, 1);
  const std::string& affix = required_text(bound, 0);
  std::string_view text = self.as_string();
  if (at_end && text.ends_with(affix)) text.remove_suffix(affix.size());
  if (!at_end && text.starts_with(affix)) text.remove_prefix(affix.size());
  return piece(self, text);
}

Value replaced(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("replace", a, {"old", "new", "count"}, 2);
  return piece(self,
               replace(self.as_string(),
                       required_text(bound, 0),
                       required_text(bound, 1),
                       bound.integer(2, -1)));
}

constexpr std::array kMethods = std::to_array<MethodEntry>({
    {"split", split<false>},
    {"rsplit", split<true>},
    {"splitlines", lines},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"join", join},
    {"find", find<false>},
    {"rfind", find<true>},
    {"index", index<false>},
    {"rindex", index<true>},
    {"count", count},
    {"startswith", has_affix<false>},
    {"endswith", has_affix<true>},
    {"removeprefix", without_affix<false>},
    {"removesuffix", without_affix<true>},
    {"replace", replaced},
});

}  // namespace

std::span<const MethodEntry> text_search_methods() {
  return kMethods;
}

}  // namespace quern::jinja

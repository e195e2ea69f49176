// SPDX-License-Identifier: Apache-2.0
#include "yaml_config.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace quern {
namespace {

constexpr int kMaxLines = 10'000;

std::string_view trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(" \t\r"), text.size());
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

// The line without its comment: a '#' at its start or behind a blank, outside quotes.
std::string_view without_comment(std::string_view line) {
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
      return line.substr(0, i);
    } else if ((c == '"' || c == '\'') &&
               (i == 0 || std::string_view(" \t[,").find(line[i - 1]) != std::string_view::npos)) {
      quote = c;
    }
  }
  return line;
}

std::string scalar(std::string_view text) {
  text = trimmed(text);
  if (text.empty()) fail(ErrorCode::invalid_argument, "a value is missing");
  const char first = text.front();
  if (first == '"' || first == '\'') {
    if (text.size() < 2 || text.back() != first ||
        text.substr(1, text.size() - 2).find_first_of("\\\"'") != std::string_view::npos)
      fail(ErrorCode::invalid_argument,
           "a quoted value must end with its quote, and hold neither quotes nor \\");
    return std::string(text.substr(1, text.size() - 2));
  }
  if (std::string_view("{}[]&*!|>%@`,").find(first) != std::string_view::npos ||
      text.find(": ") != std::string_view::npos)
    fail(ErrorCode::invalid_argument,
         "expected a plain or quoted value, got {}; nested values are not read here",
         std::string(text.substr(0, 40)));
  return std::string(text);
}

std::vector<std::string> flow_list(std::string_view text) {
  if (!text.ends_with(']'))
    fail(ErrorCode::invalid_argument, "a list that begins with [ ends with ] on its line");
  text = text.substr(1, text.size() - 2);
  std::vector<std::string> out;
  while (!trimmed(text).empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    out.push_back(scalar(item));
    text.remove_prefix(std::min(item.size() + 1, text.size()));
  }
  return out;
}

void read_line(std::string_view line, std::vector<ConfigEntry>& out, bool& takes_items) {
  const std::string_view text = trimmed(without_comment(line));
  if (text.empty() || (text == "---" && out.empty())) return;
  if (text == "-" || text.starts_with("- ")) {
    if (!takes_items) fail(ErrorCode::invalid_argument, "a list item without a name above it");
    out.back().values.push_back(scalar(text.substr(1)));
    return;
  }
  if (line.front() == ' ' || line.front() == '\t')
    fail(ErrorCode::invalid_argument, "an indented line; this file is one flat list of flags");
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 ||
      (colon + 1 < text.size() && text[colon + 1] != ' '))
    fail(ErrorCode::invalid_argument, "expected \"flag: value\"");
  ConfigEntry entry{.name = scalar(text.substr(0, colon)), .values = {}};
  std::replace(entry.name.begin(), entry.name.end(), '_', '-');
  for (const ConfigEntry& other : out)
    if (other.name == entry.name)
      fail(ErrorCode::invalid_argument, "{} is there twice", entry.name);
  const std::string_view value = trimmed(text.substr(colon + 1));
  takes_items = value.empty();
  if (value.starts_with('['))
    entry.values = flow_list(value);
  else if (!value.empty())
    entry.values = {scalar(value)};
  out.push_back(std::move(entry));
}

}  // namespace

std::vector<ConfigEntry> read_flat_yaml(std::istream& in) {
  std::vector<ConfigEntry> out;
  bool takes_items = false;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (number > kMaxLines) fail(ErrorCode::invalid_argument, "more than {} lines", kMaxLines);
    with_context(format("line {}", number), [&] { read_line(line, out, takes_items); });
  }
  return out;
}

}  // namespace quern

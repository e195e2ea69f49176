// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/flow_config.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kMostBytes = size_t{1} << 16;
constexpr double kLeastRate = 0.1, kMostRate = 1e4;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// Without a comment, which begins at the start of a line or behind a space.
std::string_view without_comment(std::string_view line) {
  for (size_t i = 0; i < line.size(); ++i)
    if (line[i] == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t'))
      return line.substr(0, i);
  return line;
}

// The lines "key: value" of the file, whatever their depth.
class YamlLines {
 public:
  YamlLines(std::string_view text, const std::string& path) : path_(path) {
    if (text.size() > kMostBytes)
      fail(ErrorCode::data_loss, "{}: {} bytes, expected {} at most", path, text.size(), kMostBytes);
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = trimmed(without_comment(text.substr(0, end)));
      text.remove_prefix(std::min(end + 1, text.size()));
      const size_t colon = line.find(':');
      if (colon == std::string_view::npos) continue;
      const std::string key(trimmed(line.substr(0, colon)));
      const auto [known, is_new] = values_.emplace(key, trimmed(line.substr(colon + 1)));
      if (!is_new) repeated_.insert(key);
    }
  }

  bool boolean(const std::string& key, bool absent) const {
    const std::string_view value = of(key);
    if (value.empty()) return absent;
    for (const std::string_view yes : {"True", "true", "TRUE"})
      if (value == yes) return true;
    for (const std::string_view no : {"False", "false", "FALSE"})
      if (value == no) return false;
    fail(ErrorCode::data_loss, "{}: {}: expected true or false, got {}", path_, key, value);
  }
  double rate(const std::string& key, double absent) const {
    const std::string_view value = of(key);
    if (value.empty()) return absent;
    double out = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
    const bool is_number = error == std::errc() && end == value.data() + value.size();
    if (!is_number || !(out >= kLeastRate && out <= kMostRate))
      fail(ErrorCode::data_loss,
           "{}: {}: expected a rate of {} to {} Hz, got {}",
           path_,
           key,
           kLeastRate,
           kMostRate,
           value);
    return out;
  }
  std::string_view text(const std::string& key, std::string_view absent) const {
    std::string_view value = of(key);
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
        value.back() == value.front())
      value = value.substr(1, value.size() - 2);
    return value.empty() ? absent : value;
  }

 private:
  std::string_view of(const std::string& key) const {
    if (repeated_.contains(key))
      fail(ErrorCode::data_loss, "{}: {} is stated more than once", path_, key);
    const auto known = values_.find(key);
    return known == values_.end() ? std::string_view() : std::string_view(known->second);
  }

  const std::string& path_;
  std::map<std::string, std::string, std::less<>> values_;
  std::set<std::string, std::less<>> repeated_;
};

}  // namespace

FlowConfig FlowConfig::from_yaml(std::string_view text, const std::string& path) {
  const YamlLines lines(text, path);
  const auto require = [&](const std::string& key, bool absent, bool carried) {
    if (lines.boolean(key, absent) != carried)
      fail(ErrorCode::unsupported,
           "{}: {} is {}: this build carries the published form alone, {}",
           path,
           key,
           !carried,
           carried);
  };
  require("spkr_emb_adaLN", false, true);
  require("speech_token_cfg", true, false);
  require("remove_spkr_concat_condition", false, true);
  require("use_wavlm_emb", false, false);
  if (lines.text("t_scheduler", "cosine") != "cosine")
    fail(ErrorCode::unsupported,
         "{}: t_scheduler {}: this build carries \"cosine\"",
         path,
         lines.text("t_scheduler", ""));
  return {.token_rate_hz = lines.rate("input_frame_rate", 12.5),
          .frame_rate_hz = lines.rate("mel_framerate", 86)};
}

int64_t FlowConfig::frames(int64_t tokens) const {
  const double exact = static_cast<double>(tokens) / token_rate_hz * frame_rate_hz;
  return static_cast<int64_t>(std::min(exact, 0x1p62));
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "hub_environment.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

constexpr size_t kMaxTokenBytes = 4096;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// As the hub's own client reads a switch.
bool is_on(const char* name) {
  std::string value = variable(name);
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? std::string()
                                    : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string token_file() {
  if (const std::string path = variable("HF_TOKEN_PATH"); !path.empty()) return path;
  const ModelLookup e = lookup_of_environment();
  if (!e.hf_home.empty()) return e.hf_home + "/token";
  if (!e.xdg_cache_home.empty()) return e.xdg_cache_home + "/huggingface/token";
  return e.home.empty() ? "" : e.home + "/.cache/huggingface/token";
}

std::string token() {
  std::string out;
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (out.empty()) out = trimmed(variable(name));
  const std::string file = token_file();
  const bool is_file_read = out.empty() && !is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN");
  if (is_file_read && !file.empty() && file_exists(file))
    out = trimmed(read_file(file, kMaxTokenBytes));
  const bool is_plain =
      std::ranges::all_of(out, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!is_plain) fail(ErrorCode::invalid_argument, "HF_TOKEN: holds a character that no token has");
  return out;
}

std::string endpoint(const std::string& fallback) {
  std::string out = variable("HF_ENDPOINT");
  while (out.ends_with('/')) out.pop_back();
  if (out.empty()) return fallback;
  if (!out.starts_with("https://") && !out.starts_with("http://"))
    fail(ErrorCode::invalid_argument, "HF_ENDPOINT: expected https://HOST, got \"{:.200}\"", out);
  return out;
}

int64_t timeout_s(int64_t fallback) {
  constexpr int64_t kMost = 3600;
  const std::string text = variable("HF_HUB_DOWNLOAD_TIMEOUT");
  if (text.empty()) return fallback;
  int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || value < 1 || value > kMost)
    fail(ErrorCode::invalid_argument,
         "HF_HUB_DOWNLOAD_TIMEOUT: expected 1 to {} seconds, got \"{:.40}\"",
         kMost,
         text);
  return value;
}

}  // namespace

ModelLookup lookup_of_environment() {
  return {.hf_hub_cache = variable("HF_HUB_CACHE"),
          .hf_home = variable("HF_HOME"),
          .xdg_cache_home = variable("XDG_CACHE_HOME"),
          .home = variable("HOME"),
          .embedded_folders = {}};
}

std::string hub_cache_or_fail() {
  std::string out = hub_cache_folder(lookup_of_environment());
  if (out.empty())
    fail(ErrorCode::invalid_argument,
         "where is the Hugging Face cache? Neither HF_HUB_CACHE, HF_HOME nor HOME is set");
  return out;
}

HubOptions hub_options_of_environment() {
  HubOptions out;
  out.endpoint = endpoint(out.endpoint);
  out.http.token = token();
  out.http.timeout_s = timeout_s(out.http.timeout_s);
  return out;
}

bool is_hub_offline() {
  return is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE");
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "command_line.h"

#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "api/field_reader.h"
#include "base/error.h"
#include "yaml_config.h"

namespace quern {
namespace {

struct Alias {
  std::string_view typed, meant;
};

constexpr Alias kShortForms[] = {{"-tp", "--tensor-parallel-size"},
                                 {"-pp", "--pipeline-parallel-size"},
                                 {"-dp", "--data-parallel-size"}};

// vLLM's variables that mean what a flag of ours means. `factor` turns their unit into ours.
struct VllmVariable {
  const char* theirs;
  const char* ours;
  int64_t factor;  // 0: the text as it is
};

constexpr VllmVariable kVllmVariables[] = {
    {"VLLM_API_KEY", "QUERN_API_KEY", 0},
    {"VLLM_LOGGING_LEVEL", "QUERN_LOG_LEVEL", 0},
    {"VLLM_CPU_KVCACHE_SPACE", "QUERN_KV_CACHE_MEMORY_BYTES", int64_t{1} << 30},
    {"VLLM_IMAGE_FETCH_TIMEOUT", "QUERN_MEDIA_FETCH_TIMEOUT", 1},
    {"VLLM_MAX_IMAGE_PIXELS", "QUERN_MAX_IMAGE_PIXELS", 1},
    {"VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB", "QUERN_MAX_MEDIA_BYTES", 1'000'000},
    {"VLLM_HTTP_MAX_REQUEST_BODY_SIZE", "QUERN_MAX_BODY_BYTES", 1},
    {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "QUERN_KEEP_ALIVE_TIMEOUT", 1},
};

// Set by habit, without meaning here.
constexpr const char* kNeedless[] = {
    "VLLM_WORKER_MULTIPROC_METHOD", "VLLM_USE_V1", "VLLM_ATTENTION_BACKEND"};

std::string variable_of(std::string_view flag) {
  std::string out = "QUERN_";
  for (const char c : flag)
    out += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

// False if the variable has a value already.
bool set_if_unset(const std::string& name, const std::string& value) {
  return std::getenv(name.c_str()) == nullptr && setenv(name.c_str(), value.c_str(), 0) == 0;
}

std::string scaled(const char* text, const VllmVariable& variable) {
  if (variable.factor == 0) return text;
  const double value = std::strtod(text, nullptr) * static_cast<double>(variable.factor);
  return value >= 0 && value < 0x1p62 ? std::to_string(static_cast<int64_t>(value)) : text;
}

std::optional<std::string> config_path(std::span<const std::string> arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].starts_with("--config=")) return arguments[i].substr(9);
    if (arguments[i] == "--config" && i + 1 < arguments.size()) return arguments[i + 1];
  }
  if (const char* path = std::getenv("QUERN_CONFIG")) return path;
  return std::nullopt;
}

std::vector<ConfigEntry> read_config(std::istream& file, const std::string& path) {
  if (path.ends_with(".yaml") || path.ends_with(".yml"))
    return with_context("--config " + path, [&] { return read_flat_yaml(file); });
  std::vector<ConfigEntry> out;
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(file)) {
    std::string name = item.name;
    std::replace(name.begin(), name.end(), '_', '-');
    out.push_back({.name = std::move(name), .values = item.inputs});
  }
  return out;
}

}  // namespace

std::vector<std::string> normalize_arguments(std::span<char* const> arguments) {
  std::vector<std::string> out;
  bool are_flags = true;
  for (const char* raw : arguments) {
    std::string text = raw;
    if (text == "--") are_flags = false;
    if (are_flags && text.starts_with("--")) {
      const size_t name_end = std::min(text.find('='), text.size());
      std::replace(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(name_end), '_', '-');
    } else if (are_flags) {
      for (const Alias& form : kShortForms)
        if (text == form.typed) text = form.meant;
    }
    out.push_back(std::move(text));
  }
  return out;
}

std::vector<std::string> own_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> out;
  for (std::string word; std::getline(file, word, '\0');) out.push_back(word);
  if (!out.empty()) out.erase(out.begin());
  return out;
}

int64_t parse_count(std::string_view text, std::string_view flag) {
  static constexpr std::string_view kDecimal = "kmg", kBinary = "KMG";
  double factor = 1;
  std::string_view digits = text;
  if (!text.empty()) {
    const size_t decimal = kDecimal.find(text.back()), binary = kBinary.find(text.back());
    if (decimal != std::string_view::npos)
      factor = std::pow(1000.0, static_cast<double>(decimal + 1));
    if (binary != std::string_view::npos)
      factor = std::pow(1024.0, static_cast<double>(binary + 1));
    if (factor != 1) digits.remove_suffix(1);
  }
  double value = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool is_number =
      failure == std::errc() && end == digits.data() + digits.size() && std::isfinite(value);
  const double count = std::round(value * factor);
  if (!is_number || std::abs(count) > 0x1p53 || (factor == 1 && count != value))
    fail(ErrorCode::invalid_argument,
         "{}: expected a count such as 4096, 8k (8000) or 8K (8192), got \"{}\"",
         flag,
         text);
  return static_cast<int64_t>(count);
}

std::string nearest_flag(const CLI::App& app, std::string_view typed) {
  const std::string_view name = typed.substr(0, typed.find('='));
  std::string best;
  int distance = std::max(2, static_cast<int>(name.size()) / 4) + 1;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& flag : option->get_lnames()) {
      const int d = edit_distance(name, "--" + flag);
      if (d < distance) distance = d, best = "--" + flag;
    }
  return best;
}

void read_environment(CLI::App& app) {
  for (CLI::Option* option : app.get_options())
    if (!option->get_lnames().empty() && option->get_lnames().front() != "help")
      option->envname(variable_of(option->get_lnames().front()));
}

std::vector<std::string> adopt_vllm_environment() {
  std::vector<std::string> taken;
  for (const VllmVariable& variable : kVllmVariables) {
    const char* value = std::getenv(variable.theirs);
    if (value != nullptr && set_if_unset(variable.ours, scaled(value, variable)))
      taken.push_back(std::string(variable.theirs) + " read as " + variable.ours);
  }
  for (const char* name : kNeedless)
    if (std::getenv(name) != nullptr)
      taken.push_back(std::string(name) + " changes nothing here and is not needed");
  return taken;
}

std::vector<std::string> adopt_config_file(std::span<const std::string> arguments) {
  const std::optional<std::string> path = config_path(arguments);
  if (!path) return {};
  std::ifstream file(*path);
  if (!file) fail(ErrorCode::not_found, "--config {}: cannot be read", *path);
  std::vector<std::string> taken;
  for (const ConfigEntry& entry : read_config(file, *path))
    if (set_if_unset(variable_of(entry.name), CLI::detail::join(entry.values, ",")))
      taken.push_back(*path + ": " + entry.name);
  return taken;
}

}  // namespace quern

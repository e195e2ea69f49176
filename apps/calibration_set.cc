// SPDX-License-Identifier: Apache-2.0
#include "calibration_set.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace quern {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 30;
constexpr size_t kMinTokens = 64;

std::vector<std::string_view> split(std::string_view text, std::string_view at) {
  std::vector<std::string_view> out;
  while (true) {
    const size_t end = text.find(at);
    if (const std::string_view part = text.substr(0, end); !part.empty()) out.push_back(part);
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + at.size());
  }
}

// One line of a JSONL file.
std::string document_of(const PromptBuilder& prompts,
                        std::string_view line,
                        const std::string& where) {
  const Json value = parse_json(line, where);
  if (value.is_object() && value.contains("text") && value["text"].is_string())
    return value["text"].get<std::string>();
  if (value.is_object() && value.contains("messages") && value["messages"].is_array())
    return with_context(
        where, [&] { return prompts.render(value["messages"], {.add_generation_prompt = false}); });
  fail(ErrorCode::invalid_argument,
       "{}: expected {{\"text\": \"…\"}} or {{\"messages\": […]}}",
       where);
}

std::vector<std::string> documents_of(const PromptBuilder& prompts, const std::string& file) {
  std::vector<std::string> out;
  if (file.empty()) {
    for (const std::string_view part : split(built_in_calibration(), "\n====\n"))
      out.emplace_back(part);
    return out;
  }
  const std::string text = read_file(file, kMaxFileBytes);
  if (!file.ends_with(".jsonl")) return {text};
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    out.push_back(document_of(prompts, line, format("--calibration {}: line {}", file, number)));
  }
  return out;
}

// The same order everywhere: std::shuffle's is the library's own.
void shuffle(std::vector<std::string>& documents, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = documents.size(); i > 1; --i)
    std::swap(documents[i - 1], documents[random() % i]);
}

}  // namespace

std::vector<std::vector<int32_t>> read_calibration(const PromptBuilder& prompts,
                                                   const CalibrationChoice& choice) {
  std::vector<std::string> documents = documents_of(prompts, choice.file);
  shuffle(documents, choice.seed);
  std::vector<int32_t> ids;
  for (const std::string& document : documents) {
    if (static_cast<int64_t>(ids.size()) >= choice.tokens) break;
    const std::vector<int32_t> more =
        prompts.tokenizer().encode(document, {.add_special_tokens = false});
    ids.insert(ids.end(), more.begin(), more.end());
  }
  ids.resize(std::min(ids.size(), static_cast<size_t>(choice.tokens)));
  if (ids.size() < kMinTokens)
    fail(ErrorCode::invalid_argument,
         "--calibration {}: {} tokens are too few to judge a layer by: expected at least {}",
         choice.file,
         ids.size(),
         kMinTokens);
  if (static_cast<int64_t>(ids.size()) < choice.tokens)
    log(LogLevel::info,
        "calibration: {} tokens, of {} that --calibration-tokens allows",
        ids.size(),
        choice.tokens);
  std::vector<std::vector<int32_t>> out;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(choice.length)) {
    const size_t end = std::min(ids.size(), begin + static_cast<size_t>(choice.length));
    out.emplace_back(ids.begin() + static_cast<int64_t>(begin),
                     ids.begin() + static_cast<int64_t>(end));
  }
  return out;
}

std::string_view built_in_calibration() {
  static constexpr std::string_view kText =
#include "calibration_text.inc"
      ;
  return kText;
}

std::string_view built_in_prose() {
  static constexpr std::string_view kText =
#include "prose.inc"
      ;
  return kText;
}

}  // namespace quern

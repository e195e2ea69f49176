// SPDX-License-Identifier: Apache-2.0
#include "calibration_set.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
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

// Text, or messages with pictures, which are opened when their turn comes.
struct Document {
  std::string text;
  std::string_view messages;  // the line of the file; empty: text alone
  std::string where;
};

bool has_media(const Json& messages) {
  for (const Json& message : messages)
    if (message.is_object() && message.contains("content") && message["content"].is_array() &&
        std::ranges::any_of(message["content"],
                            [](const Json& part) { return media_kind_of(part).has_value(); }))
      return true;
  return false;
}

// One line of a JSONL file.
Document document_of(const PromptBuilder& prompts,
                     std::string_view line,
                     const std::string& where) {
  const Json value = parse_json(line, where);
  if (value.is_object() && value.contains("text") && value["text"].is_string())
    return {value["text"].get<std::string>(), {}, where};
  if (!value.is_object() || !value.contains("messages") || !value["messages"].is_array())
    fail(ErrorCode::invalid_argument,
         "{}: expected {{\"text\": \"…\"}} or {{\"messages\": […]}}",
         where);
  if (has_media(value["messages"])) return {{}, line, where};
  return with_context(where, [&]() -> Document {
    return {prompts.render(value["messages"], {.add_generation_prompt = false}), {}, where};
  });
}

// `text`: of the file, which the result points into.
std::vector<Document> documents_of(const PromptBuilder& prompts,
                                   const std::string& file,
                                   std::string_view text) {
  std::vector<Document> out;
  if (file.empty()) {
    for (const std::string_view part : split(built_in_calibration(), "\n====\n"))
      out.push_back({std::string(part), {}, {}});
    return out;
  }
  if (!file.ends_with(".jsonl")) return {{std::string(text), {}, {}}};
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    out.push_back(document_of(prompts, line, format("--calibration {}: line {}", file, number)));
  }
  return out;
}

// The same order everywhere: std::shuffle's is the library's own.
void shuffle(std::vector<Document>& documents, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = documents.size(); i > 1; --i)
    std::swap(documents[i - 1], documents[random() % i]);
}

// "pictures/a.png" becomes the file:// URL of that file in `folder`.
void point_into(const std::string& folder, Json& messages) {
  const auto change = [&](Json& url) {
    if (!url.is_string()) return;
    const std::string text = url.get<std::string>();
    if (text.find("://") == std::string::npos && !text.starts_with("data:"))
      url = "file://" + (std::filesystem::path(folder) / text).string();
  };
  for (Json& message : messages) {
    if (!message.is_object() || !message.contains("content")) continue;
    if (!message["content"].is_array()) continue;
    for (Json& part : message["content"])
      for (const char* key : {"image_url", "image"}) {
        if (!part.is_object() || !part.contains(key)) continue;
        Json& value = part[key];
        change(value.is_object() && value.contains("url") ? value["url"] : value);
      }
  }
}

// Messages and their pictures as one sequence.
CalibrationSequence sequence_of(const PromptBuilder& prompts,
                                const Document& document,
                                const std::string& folder) {
  return with_context(document.where, [&] {
    Json messages = parse_json(document.messages, document.where)["messages"];
    point_into(folder, messages);
    MediaLimits limits;
    limits.allowed_local_path = folder;
    Prompt prompt =
        prompts.from_messages(messages, {.add_generation_prompt = false}, MediaSource(limits));
    CalibrationSequence out(std::move(prompt.ids));
    out.positions = std::move(prompt.positions);
    for (const MediaSpan& span : prompt.media)
      out.pictures.push_back({span.media, span.first_token});
    return out;
  });
}

std::string folder_of(const std::string& file) {
  return std::filesystem::absolute(file).parent_path().lexically_normal().string();
}

// Puts texts one behind the other and cuts them.
std::vector<CalibrationSequence> cut(const std::vector<int32_t>& ids, int64_t length) {
  std::vector<CalibrationSequence> out;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(length)) {
    const size_t end = std::min(ids.size(), begin + static_cast<size_t>(length));
    out.emplace_back(std::vector<int32_t>(ids.begin() + static_cast<int64_t>(begin),
                                          ids.begin() + static_cast<int64_t>(end)));
  }
  return out;
}

}  // namespace

std::vector<CalibrationSequence> read_calibration(const PromptBuilder& prompts,
                                                  const CalibrationChoice& choice) {
  const std::string text = choice.file.empty() ? "" : read_file(choice.file, kMaxFileBytes);
  std::vector<Document> documents = documents_of(prompts, choice.file, text);
  shuffle(documents, choice.seed);
  std::vector<int32_t> ids;
  std::vector<CalibrationSequence> with_pictures;
  const auto most = static_cast<size_t>(choice.tokens);
  size_t pictured = 0;  // tokens of sequences with pictures
  for (const Document& document : documents) {
    if (ids.size() + pictured >= most) break;
    if (!document.messages.empty()) {
      CalibrationSequence s = sequence_of(prompts, document, folder_of(choice.file));
      if (ids.size() + pictured + s.ids.size() > most) continue;
      pictured += s.ids.size();
      with_pictures.push_back(std::move(s));
      continue;
    }
    const std::vector<int32_t> more =
        prompts.tokenizer().encode(document.text, {.add_special_tokens = false});
    ids.insert(ids.end(), more.begin(), more.end());
    ids.resize(std::min(ids.size(), most - pictured));
  }
  if (ids.size() + pictured < kMinTokens)
    fail(ErrorCode::invalid_argument,
         "--calibration {}: {} tokens are too few to judge a layer by: expected at least {}",
         choice.file,
         ids.size() + pictured,
         kMinTokens);
  if (ids.size() + pictured < most)
    log(LogLevel::info,
        "calibration: {} tokens, of {} that --calibration-tokens allows",
        ids.size() + pictured,
        choice.tokens);
  std::vector<CalibrationSequence> out = cut(ids, choice.length);
  std::ranges::move(with_pictures, std::back_inserter(out));
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

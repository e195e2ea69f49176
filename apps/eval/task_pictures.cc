// SPDX-License-Identifier: Apache-2.0
#include "eval/task_pictures.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "api/api_error.h"
#include "api/pooling_format.h"
#include "base/file.h"
#include "base/function_ref.h"
#include "eval/task_file.h"
#include "prompt/media_source.h"

namespace quern::eval {
namespace {

namespace fs = std::filesystem;

bool is_url(const std::string& text) {
  for (const char* scheme : {"data:", "http://", "https://", "file://"})
    if (text.starts_with(scheme)) return true;
  return false;
}

// The URL of a part that carries a picture: {"image_url": {"url": …} or a string}, {"image": …}.
// Null where there is none.
template <typename J>
J* url_of(J& part) {
  for (const char* key : {"image_url", "image", "url"}) {
    const auto found = part.find(key);
    if (found == part.end() || found->is_null()) continue;
    if (!found->is_object()) return &*found;
    if (const auto url = found->find("url"); url != found->end()) return &*url;
  }
  return nullptr;
}

// `see` is given each picture's URL and the name of its part.
template <typename J>
void each_picture(J& messages, FunctionRef<void(J&, const std::string&)> see) {
  for (size_t m = 0; m < messages.size(); ++m) {
    const auto content = messages[m].find("content");
    if (content == messages[m].end() || !content->is_array()) continue;
    for (size_t i = 0; i < content->size(); ++i) {
      J& part = (*content)[i];
      const auto kind = media_kind_of(part);
      if (!kind) continue;
      const std::string where = format("messages[{}].content[{}]", m, i);
      if (*kind != MediaKind::image)
        fail_field(where, "{}: {}: tasks take text and pictures", where, name_of(*kind));
      J* url = url_of(part);
      if (url == nullptr || !url->is_string())
        fail_field(where, "{}: expected the URL or path of a picture", where);
      see(*url, where);
    }
  }
}

// The file that `name` stands for: none outside the folder, by whatever way.
fs::path file_of(const std::string& name, const fs::path& folder, const std::string& where) {
  std::error_code error;
  const fs::path base = fs::canonical(folder.empty() ? fs::path(".") : folder, error);
  const fs::path path = error ? fs::path() : fs::canonical(base / name, error);
  const auto [end, rest] = std::mismatch(base.begin(), base.end(), path.begin(), path.end());
  if (error || end != base.end() || !fs::is_regular_file(path, error))
    fail_field(where,
               "{}: {}: no such file in the folder of the task's file or below it",
               where,
               name.substr(0, 256));
  if (fs::file_size(path, error) > kMaxPictureBytes || error)
    fail_field(where, "{}: {}: larger than {} bytes", where, name.substr(0, 256), kMaxPictureBytes);
  return path;
}

std::string type_of(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return std::tolower(c); });
  if (ending == ".jpg") return "image/jpeg";
  for (const char* known : {"png", "jpeg", "webp", "gif"})
    if (ending == std::string(".") + known) return std::string("image/") + known;
  return "application/octet-stream";
}

}  // namespace

void expect_pictures(const Json& messages, const fs::path& folder) {
  each_picture<const Json>(messages, [&](const Json& url, const std::string& where) {
    const std::string& text = url.get_ref<const std::string&>();
    if (!is_url(text)) file_of(text, folder, where);
  });
}

void inline_pictures(Json& messages, const fs::path& folder) {
  each_picture<Json>(messages, [&](Json& url, const std::string& where) {
    const std::string text = url.get<std::string>();
    if (is_url(text)) return;
    const fs::path path = file_of(text, folder, where);
    const std::string bytes = read_file(path.string(), kMaxPictureBytes);
    url = format("data:{};base64,{}", type_of(path), base64_of(std::as_bytes(std::span(bytes))));
  });
}

}  // namespace quern::eval

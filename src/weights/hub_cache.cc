// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_cache.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxId = 96;          // of the hub
constexpr size_t kMaxRefBytes = 1024;  // a commit has 40 characters

bool is_id_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

}  // namespace

std::vector<std::string> entries_of(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    out.push_back(it->path().filename().string());
  std::ranges::sort(out);
  return out;
}

bool stays_inside(std::string_view relative) {
  const fs::path path(relative);
  return !relative.empty() && relative.find('\0') == std::string_view::npos && path.is_relative() &&
         std::ranges::none_of(path,
                              [](const fs::path& part) { return part == ".." || part == "."; });
}

std::optional<HubId> parse_hub_id(std::string_view name) {
  const size_t at = name.find('@');
  const std::string_view repository = name.substr(0, at);
  const std::string_view revision =
      at == std::string_view::npos ? kDefaultRevision : name.substr(at + 1);
  const auto slashes = std::ranges::count(repository, '/');
  const bool is_id =
      std::ranges::all_of(repository, [](char c) { return c == '/' || is_id_character(c); });
  const bool has_empty_part =
      repository.empty() || repository.front() == '/' || repository.back() == '/';
  if (!is_id || has_empty_part || slashes > 1 || repository.size() > kMaxId ||
      !stays_inside(repository))
    return std::nullopt;
  if (!stays_inside(revision))
    fail(ErrorCode::invalid_argument, "{}: expected a branch, a tag or a commit after @", name);
  return HubId{std::string(repository), std::string(revision)};
}

std::string hub_cache_name(std::string_view repository) {
  std::string out = "models--";
  for (const char c : repository) out += c == '/' ? std::string("--") : std::string(1, c);
  return out;
}

std::vector<std::string> cached_ids(const std::string& cache) {
  constexpr std::string_view kPrefix = "models--";
  std::vector<std::string> out;
  for (const std::string& entry : entries_of(cache)) {
    if (!entry.starts_with(kPrefix)) continue;
    const size_t dashes = entry.find("--", kPrefix.size());
    const std::string first = entry.substr(kPrefix.size(), dashes - kPrefix.size());
    out.push_back(dashes == std::string::npos ? first
                                              : format("{}/{}", first, entry.substr(dashes + 2)));
  }
  return out;
}

std::string read_ref(const std::string& file) {
  std::string commit = read_file(file, kMaxRefBytes);
  commit.erase(
      std::find_if(commit.begin(), commit.end(), [](char c) { return c == '\n' || c == '\r'; }),
      commit.end());
  if (!stays_inside(commit) || commit.find('/') != std::string::npos)
    fail(ErrorCode::data_loss, "{}: expected a commit, got \"{:.60}\"", file, commit);
  return commit;
}

}  // namespace quern

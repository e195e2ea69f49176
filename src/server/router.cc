// SPDX-License-Identifier: Apache-2.0
#include "server/router.h"

#include <algorithm>

namespace quern {
namespace {

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> out;
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    out.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

bool matches(const Router::Entry& entry,
             const std::vector<std::string>& path,
             std::vector<std::string>& parameters) {
  parameters.clear();
  for (size_t i = 0; i < entry.segments.size(); ++i) {
    const std::string& want = entry.segments[i];
    if (i >= path.size()) return false;
    if (want.starts_with('{') && want.ends_with("}*")) {
      std::string rest = path[i];
      for (size_t j = i + 1; j < path.size(); ++j) rest += "/" + path[j];
      parameters.push_back(std::move(rest));
      return true;
    }
    if (want.starts_with('{'))
      parameters.push_back(path[i]);
    else if (want != path[i])
      return false;
  }
  return entry.segments.size() == path.size();
}

}  // namespace

void Router::add(std::string method, std::string pattern, RouteOptions options, Route route) {
  std::vector<std::string> segments = segments_of(pattern);
  entries_.push_back(
      {std::move(method), std::move(segments), std::move(pattern), options, std::move(route)});
}

void Router::set_root_path(std::string root) {
  while (root.ends_with('/')) root.pop_back();
  if (!root.empty() && normalize_path(root) != root)
    fail(ErrorCode::invalid_argument,
         "--root-path: expected a path such as /llm, got \"{}\"",
         printable(root, 100));
  root_ = std::move(root);
}

Router::Match Router::match(std::string_view method, std::string_view path) const {
  if (!root_.empty() && path.starts_with(root_) &&
      (path.size() == root_.size() || path[root_.size()] == '/'))
    path.remove_prefix(root_.size());
  const std::vector<std::string> segments = segments_of(path);
  Match match;
  std::vector<std::string> parameters;
  for (const Entry& entry : entries_) {
    if (!matches(entry, segments, parameters)) continue;
    if (entry.method == method || (method == "HEAD" && entry.method == "GET")) {
      match.entry = &entry;
      match.parameters = std::move(parameters);
      return match;
    }
    match.allowed += (match.allowed.empty() ? "" : ", ") + entry.method +
                     (entry.method == "GET" ? ", HEAD" : "");
  }
  return match;
}

}  // namespace quern

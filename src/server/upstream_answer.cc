// SPDX-License-Identifier: Apache-2.0
#include "server/upstream_answer.h"

#include <algorithm>
#include <charconv>

namespace quern {
namespace {

constexpr size_t kMostHead = size_t{64} << 10, kMostLine = 64;
constexpr std::string_view kEnd = "\r\n";

// Said anew by whoever answers the client.
bool is_of_connection(std::string_view name) {
  constexpr std::string_view kNames[] = {
      "server", "date", "connection", "content-length", "transfer-encoding", "x-request-id"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

uint64_t number_in(std::string_view text, int base) {
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ErrorCode::unavailable, "a replica's answer is malformed: {}", printable(text, 40));
  return out;
}

}  // namespace

void UpstreamAnswer::feed(std::string_view bytes) {
  pending_ += bytes;
  if (!has_head_ && !take_head()) return;
  while (!is_done() && !pending_.empty()) {
    if (left_ == 0 && !take_chunk_line()) return;
    const size_t take = std::min<uint64_t>(left_, pending_.size());
    // A chunk's last two bytes end its line.
    const uint64_t own = is_chunked_ ? (left_ > 2 ? left_ - 2 : 0) : left_;
    if (!is_last_) body_.append(pending_, 0, std::min<uint64_t>(own, take));
    left_ -= take;
    pending_.erase(0, take);
  }
}

bool UpstreamAnswer::take_head() {
  const size_t end = pending_.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (pending_.size() > kMostHead)
      fail(ErrorCode::unavailable, "a replica's answer has no end to its head");
    return false;
  }
  std::string_view text = std::string_view(pending_).substr(0, end);
  const size_t first = std::min(text.find(kEnd), text.size());
  const std::string_view line = text.substr(0, first);
  if (!line.starts_with("HTTP/1.1 ") || line.size() < 12)
    fail(ErrorCode::unavailable, "a replica's answer is no HTTP: {}", printable(line, 40));
  head_.status = static_cast<int>(number_in(line.substr(9, 3), 10));
  head_.content_type.clear();
  text.remove_prefix(std::min(first + 2, text.size()));
  while (!text.empty()) {
    const size_t stop = std::min(text.find(kEnd), text.size());
    const std::string_view field = text.substr(0, stop);
    const size_t colon = field.find(": ");
    if (colon != std::string_view::npos) {
      const std::string name = to_lower(field.substr(0, colon));
      const std::string_view value = field.substr(colon + 2);
      if (name == "content-length") left_ = number_in(value, 10);
      if (name == "transfer-encoding") is_chunked_ = value == "chunked";
      if (name == "content-type")
        head_.content_type = value;
      else if (!is_of_connection(name))
        head_.headers.emplace_back(field.substr(0, colon), value);
    }
    text.remove_prefix(std::min(stop + 2, text.size()));
  }
  pending_.erase(0, end + 4);
  return has_head_ = true;
}

// The size in front of a chunk; the last one has none, and ends with one more line's end.
bool UpstreamAnswer::take_chunk_line() {
  const size_t end = pending_.find(kEnd);
  if (end == std::string::npos) {
    if (pending_.size() > kMostLine)
      fail(ErrorCode::unavailable, "a replica's answer has a malformed chunk");
    return false;
  }
  const uint64_t size = number_in(std::string_view(pending_).substr(0, end), 16);
  is_last_ = size == 0;
  left_ = size + 2;
  pending_.erase(0, end + 2);
  return true;
}

}  // namespace quern

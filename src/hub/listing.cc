// SPDX-License-Identifier: Apache-2.0
#include "hub/listing.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "hub/content_hash.h"
#include "weights/hub_cache.h"

namespace quern {
namespace {

constexpr size_t kMaxPath = 1024, kMaxPart = 240;  // a name of 255 must have room for ".incomplete"
constexpr size_t kMaxFiles = 100'000;
constexpr int64_t kMaxFileBytes = int64_t{1} << 46;  // 64 TiB: sums of all files stay in 64 bits
constexpr size_t kCommitDigits = 40;

const Json* find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string string_in(const Json& object, const char* key) {
  const Json* value = find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

int64_t size_in(const Json& object, const std::string& path) {
  const Json* value = find(object, "size");
  if (value == nullptr) return -1;
  const int64_t size = value->is_number_integer() ? value->get<int64_t>() : -1;
  if (size < 0 || size > kMaxFileBytes)
    fail(ErrorCode::data_loss, "the hub's listing: {:.120}: its size is no size of a file", path);
  return size;
}

// A name that is refused may hold anything; what is printed of it does nothing to a terminal.
std::string printable(std::string_view text) {
  constexpr size_t kShown = 120;
  std::string out;
  for (const char c : text.substr(0, kShown))
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f
               ? format("\\x{:02x}", static_cast<unsigned char>(c))
               : std::string(1, c);
  return out;
}

RepoFile parse_file(const Json& sibling) {
  RepoFile out;
  out.path = string_in(sibling, "rfilename");
  if (!is_repo_path(out.path))
    fail(ErrorCode::data_loss,
         "the hub's listing: \"{}\" is no name that a file below a folder can have; nothing was "
         "fetched",
         printable(out.path));
  out.size_bytes = size_in(sibling, out.path);
  out.hash = string_in(sibling, "blobId");
  if (const Json* lfs = find(sibling, "lfs")) {
    out.hash = string_in(*lfs, "sha256");
    if (out.hash.empty()) out.hash = string_in(*lfs, "oid");
    if (const int64_t size = size_in(*lfs, out.path); size >= 0) out.size_bytes = size;
  }
  if (!out.hash.empty() && !is_content_hash(out.hash))
    fail(ErrorCode::data_loss,
         "the hub's listing: {}: expected a hash of 40 or 64 digits, got \"{:.80}\"",
         out.path,
         out.hash);
  return out;
}

bool is_part(std::string_view part) {
  return !part.empty() && part != "." && part != ".." && part.size() <= kMaxPart &&
         std::ranges::none_of(part, [](char c) {
           return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\';
         });
}

}  // namespace

bool is_repo_path(std::string_view path) {
  if (path.size() > kMaxPath || !stays_inside(path)) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (!is_part(path.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

bool is_commit(std::string_view text) {
  return text.size() == kCommitDigits && is_content_hash(text);
}

RepoListing parse_listing(const Json& answer) {
  RepoListing out;
  out.commit = string_in(answer, "sha");
  if (!is_commit(out.commit))
    fail(ErrorCode::data_loss,
         "the hub's listing: expected a commit of 40 digits as \"sha\", got \"{:.80}\"",
         out.commit);
  const Json* siblings = find(answer, "siblings");
  if (siblings == nullptr || !siblings->is_array() || siblings->size() > kMaxFiles)
    fail(ErrorCode::data_loss,
         "the hub's listing: expected \"siblings\", a list of at most {} files",
         kMaxFiles);
  std::set<std::string> seen;
  for (const Json& sibling : *siblings) {
    out.files.push_back(parse_file(sibling));
    if (!seen.insert(out.files.back().path).second)
      fail(ErrorCode::data_loss, "the hub's listing names {} twice", out.files.back().path);
  }
  return out;
}

}  // namespace quern

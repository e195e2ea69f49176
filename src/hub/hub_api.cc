// SPDX-License-Identifier: Apache-2.0
// Routes and headers are those of the hub's own client: /api/models/ID/revision/REVISION and
// /ID/resolve/COMMIT/PATH, with X-Repo-Commit and X-Linked-Etag, X-Linked-Size or ETag.
#include "hub/hub_api.h"

#include <nlohmann/json.hpp>

#include "hub/content_hash.h"

namespace quern {
namespace {

constexpr int kRangeNotSatisfiable = 416;
constexpr size_t kMaxListingBytes = size_t{64} << 20;

std::string how_to_pass(const HubOptions& options, const HubId& id) {
  return options.http.token.empty() ? "set HF_TOKEN to a token that may read it"
                                    : format("the token may not read it: ask for access at {}/{}",
                                             options.endpoint,
                                             id.repository);
}

[[noreturn]] void refuse(const HubOptions& options, const HubId& id, const HttpHead& head) {
  if (head.error_code == "RevisionNotFound")
    fail(ErrorCode::not_found, "{}: the hub has no revision {}", id.repository, id.revision);
  if (head.error_code == "GatedRepo" || head.status == 403)
    fail(ErrorCode::not_found,
         "{}: its owner wants to be asked first; {}",
         id.repository,
         how_to_pass(options, id));
  if (head.status == 401 || head.status == 404)  // the hub hides private models behind 401
    fail(ErrorCode::not_found,
         "{}@{}: {} has no such model, or it is private; {}",
         id.repository,
         id.revision,
         options.endpoint,
         how_to_pass(options, id));
  fail(ErrorCode::unavailable,
       "{}: {} answered with status {}",
       id.repository,
       options.endpoint,
       head.status);
}

// The hash by which the hub knows what it sends; empty if it does not say one.
std::string hash_of(const HttpHead& head) {
  const std::string& etag = head.linked_etag.empty() ? head.etag : head.linked_etag;
  return is_content_hash(etag) ? etag : std::string();
}

void require_same(const RepoFile& file, const std::string& commit, const HttpHead& head) {
  if (!head.commit.empty() && head.commit != commit)
    fail(ErrorCode::data_loss, "{}: asked for commit {}, got {}", file.path, commit, head.commit);
  const std::string hash = head.linked_etag.empty() ? "" : hash_of(head);
  if (!hash.empty() && hash != file.hash)
    fail(ErrorCode::data_loss,
         "{}: the listing says its hash is {}, the file {}",
         file.path,
         file.hash,
         hash);
  if (head.linked_size >= 0 && head.linked_size != file.size_bytes)
    fail(ErrorCode::data_loss,
         "{}: the listing says it has {} bytes, the file {}",
         file.path,
         file.size_bytes,
         head.linked_size);
}

}  // namespace

HubApi::HubApi(const HubOptions& options) : options_(options), client_(options.http) {}

std::string HubApi::url_of(const HubId& at, const RepoFile& file) const {
  return format("{}/{}/resolve/{}/{}",
                options_.endpoint,
                at.repository,
                at.revision,
                encode_path(file.path, true));
}

RepoListing HubApi::list(const HubId& id) {
  const std::string url = format("{}/api/models/{}/revision/{}?blobs=true",
                                 options_.endpoint,
                                 id.repository,
                                 encode_path(id.revision, false));
  std::string body;
  const HttpSink sink{.on_head = [&](const HttpHead&) { body.clear(); },
                      .on_body =
                          [&](std::span<const std::byte> bytes) {
                            if (body.size() + bytes.size() > kMaxListingBytes)
                              fail(ErrorCode::data_loss, "the hub's listing is larger than 64 MiB");
                            body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                          }};
  const HttpHead head =
      with_retries(options_.retry, [&] { return client_.send({.url = url}, sink); });
  if (head.status != 200) refuse(options_, id, head);
  try {
    return parse_listing(parse_json(body, "the hub's listing", {.max_bytes = kMaxListingBytes}));
  } catch (Error& e) {
    if (e.code() != ErrorCode::invalid_argument) throw;
    fail(ErrorCode::data_loss,
         "{}: {} speaks no hub's language: {}",
         url,
         options_.endpoint,
         e.what());
  }
}

void HubApi::complete(const HubId& at, RepoFile& file) {
  if (file.size_bytes >= 0 && !file.hash.empty()) return;
  const std::string url = url_of(at, file);
  const HttpHead head = with_retries(
      options_.retry, [&] { return client_.send({.url = url, .is_head = true}, HttpSink{}); });
  if (head.status != 200) refuse(options_, at, head);
  file.hash = hash_of(head);
  file.size_bytes = head.linked_size >= 0 ? head.linked_size : head.length;
  if (file.hash.empty() || file.size_bytes < 0)
    fail(ErrorCode::data_loss,
         "{}: the hub states no hash or no size, so what arrives could not be checked",
         file.path);
}

bool HubApi::read(const HubId& at, const RepoFile& file, int64_t from, const HttpSink& sink) {
  const HttpSink checked{.on_head =
                             [&](const HttpHead& head) {
                               require_same(file, at.revision, head);
                               sink.on_head(head);
                             },
                         .on_body = sink.on_body};
  const HttpHead head = client_.send({.url = url_of(at, file), .from = from}, checked);
  if (head.status == kRangeNotSatisfiable) return false;
  if (head.status < 200 || head.status >= 300)
    fail(ErrorCode::not_found, "{}: the hub answered with status {}", file.path, head.status);
  return true;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// The hub's two calls: what a revision consists of, and a file of it.
#pragma once

#include <string>

#include "hub/attempts.h"
#include "hub/http_client.h"
#include "hub/listing.h"
#include "weights/hub_cache.h"

namespace quern {

struct HubOptions {
  std::string endpoint = "https://huggingface.co";
  HttpOptions http;
  RetryPolicy retry;
};

// One thread's connection to the hub. `options` must outlive it.
class HubApi {
 public:
  explicit HubApi(const HubOptions& options);

  // Throws not_found (no such model or revision, or not for this token), data_loss, unavailable.
  RepoListing list(const HubId& id);
  // Asks for size and hash of a file that the listing does not state. `at.revision` is a commit.
  void complete(const HubId& at, RepoFile& file);
  // The bytes of a file from `from` on, once, without retries; false if the hub will not begin
  // there. Throws TransientError; data_loss if it offers something else than `file` says.
  bool read(const HubId& at, const RepoFile& file, int64_t from, const HttpSink& sink);

 private:
  std::string url_of(const HubId& at, const RepoFile& file) const;

  const HubOptions& options_;
  HttpClient client_;
};

}  // namespace quern

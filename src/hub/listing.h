// SPDX-License-Identifier: Apache-2.0
// What the hub says a revision of a model consists of. Nothing of it is trusted: names stay inside
// a folder, sizes and counts are bounded, hashes are hex digits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern {

struct RepoFile {
  std::string path;         // "model.safetensors", "original/params.json"
  int64_t size_bytes = -1;  // -1: the listing does not say
  std::string hash;         // is_content_hash; empty: the listing does not say. Names the blob.
};

struct RepoListing {
  std::string commit;  // 40 hex digits
  std::vector<RepoFile> files;
};

// Whether a path of the hub may become a path below a folder: relative, no empty, "." or ".."
// part, no backslash or control character, parts and whole within the limits of file systems.
bool is_repo_path(std::string_view path);

bool is_commit(std::string_view text);

// The answer of /api/models/ID/revision/REVISION?blobs=true. Throws data_loss saying what is wrong
// with it.
RepoListing parse_listing(const Json& answer);

}  // namespace quern

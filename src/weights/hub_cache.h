// SPDX-License-Identifier: Apache-2.0
// The names of the Hugging Face cache: models--ORG--NAME/refs/REVISION holds a commit,
// snapshots/COMMIT the files as links into blobs/. The layout is huggingface_hub's ("Understand
// caching").
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

inline constexpr std::string_view kDefaultRevision = "main";

struct HubId {
  std::string repository;  // "ORG/NAME", or "NAME" of the hub's oldest models
  std::string revision;    // a branch, a tag or a commit
};

// "ORG/NAME" or "ORG/NAME@REVISION"; empty if it cannot be one. Throws invalid_argument for a
// revision that is none.
std::optional<HubId> parse_hub_id(std::string_view name);

// Whether a path stays in the folder that it is relative to: not absolute, no "." or ".." among its
// parts, no NUL.
bool stays_inside(std::string_view relative);

// "models--ORG--NAME".
std::string hub_cache_name(std::string_view repository);

// The ids of all models in the cache, ascending.
std::vector<std::string> cached_ids(const std::string& cache);

// The commit that a file of refs/ holds. Throws data_loss if it holds something else.
std::string read_ref(const std::string& file);

// The names in a folder, ascending; none if it cannot be read.
std::vector<std::string> entries_of(const std::string& folder);

}  // namespace quern

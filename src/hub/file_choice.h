// SPDX-License-Identifier: Apache-2.0
// Which files of a model are fetched: what quern reads, or what was asked for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hub/listing.h"

namespace quern {

struct FileWish {
  // Globs over whole paths, where * also matches a slash; "original/" means all below it. Without
  // `include`: what quern reads.
  std::vector<std::string> include, exclude;
  // A GGUF model instead of safetensors: a file's name, or a part of it that only one model has
  // ("Q4_K_M"). All parts of a split model are taken.
  std::string gguf;
};

struct SkippedFile {
  RepoFile file;
  std::string_view why;
};

struct FileChoice {
  std::vector<RepoFile> wanted;  // small files first, then the largest
  std::vector<SkippedFile> skipped;
};

// Throws not_found if nothing matches; invalid_argument, listing them, where one of several GGUF
// models has to be named.
FileChoice choose_files(const RepoListing& listing, const FileWish& wish);

// Python's fnmatch, as the hub's own client matches: *, ?, [seq].
bool matches_glob(const std::string& path, const std::string& pattern);

}  // namespace quern

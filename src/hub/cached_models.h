// SPDX-License-Identifier: Apache-2.0
// What lies in the Hugging Face cache, and how it is taken out again: contents that several
// revisions share stay until the last of them goes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct CachedFile {
  std::string path;         // in the snapshot
  std::string blob;         // the name of its content; empty: no link, a file of its own
  int64_t size_bytes = -1;  // -1: its content is missing
};

struct CachedRevision {
  std::string commit;
  std::vector<std::string> refs;  // branches and tags that lead to it
  std::vector<CachedFile> files;  // by path
  int64_t size_bytes = 0;         // each content once
  std::string architecture;       // "Qwen2ForCausalLM"; empty: not known
  std::string format;             // "safetensors bfloat16", "safetensors awq", "gguf"
};

struct CachedModel {
  std::string id;  // "ORG/NAME"
  std::string folder;
  std::vector<CachedRevision> revisions;
  int64_t size_bytes = 0;        // of all blobs, each once, and of unfinished downloads
  int64_t unfinished_bytes = 0;  // of *.incomplete
};

// All models, by id. What cannot be read is left out.
std::vector<CachedModel> cached_models(const std::string& cache);
// One model. Throws not_found, naming near misses.
CachedModel cached_model_of(const std::string& cache, const std::string& id);

// The revisions that a branch, a tag, a commit or the beginning of one names. Throws not_found or
// invalid_argument (two commits begin so).
const CachedRevision& revision_of(const CachedModel& model, std::string_view name);

struct Removal {
  std::vector<std::string> commits;  // all: the whole model goes
  int64_t freed_bytes = 0;
  int64_t kept_bytes = 0;  // shared with revisions that stay
};

Removal plan_removal(const CachedModel& model, const std::vector<std::string>& commits);
// Under the model's lock. Throws unavailable where a pull of it runs or the disk refuses.
void remove_revisions(const std::string& cache, const CachedModel& model, const Removal& removal);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "hub/cached_models.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "hub/blob_store.h"
#include "weights/checkpoint.h"
#include "weights/config.h"
#include "weights/hub_cache.h"
#include "weights/near_names.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUnfinished = ".incomplete";
constexpr size_t kMinCommitDigits = 4;

int64_t size_of(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? -1 : static_cast<int64_t>(size);
}

// Files below a folder, relative to it, ascending; folders that are links are not entered.
std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (it->is_symlink(ignored) || it->is_regular_file(ignored))
      out.push_back(it->path().lexically_relative(folder).string());
  }
  std::ranges::sort(out);
  return out;
}

CachedFile read_file_entry(const std::string& snapshot, const std::string& path) {
  const fs::path name = fs::path(snapshot) / path;
  CachedFile out{.path = path, .blob = {}, .size_bytes = size_of(name)};
  std::error_code error;
  if (fs::is_symlink(name, error)) out.blob = fs::read_symlink(name, error).filename().string();
  return out;
}

std::string weights_of(const CachedRevision& revision) {
  const auto has = [&](std::string_view end) {
    return std::ranges::any_of(revision.files, [&](const CachedFile& f) {
      return f.path.ends_with(end) && f.size_bytes >= 0;
    });
  };
  if (has(".safetensors")) return "safetensors";
  if (has(".gguf")) return "gguf";
  return has(".bin") ? "pytorch" : "no weights";
}

std::string element_type_of(const Config& config) {
  if (const auto quantization = config.find("quantization_config"))
    return quantization->string_or("quant_method", "quantized");
  for (const char* key : {"dtype", "torch_dtype"})
    if (config.has(key)) return config.string_or(key, "");
  const auto text = config.find("text_config");
  return text ? element_type_of(*text) : std::string();
}

void describe(CachedRevision& revision, const std::string& snapshot) {
  revision.format = weights_of(revision);
  const std::string path = snapshot + "/config.json";
  const auto gguf = std::ranges::find_if(revision.files, [](const CachedFile& f) {
    return f.path.ends_with(".gguf") && f.path.find('/') == std::string::npos;
  });
  try {
    if (!file_exists(path)) {
      if (gguf == revision.files.end()) return;
      revision.architecture = open_checkpoint(format("{}/{}", snapshot, gguf->path))
                                  ->config()
                                  .strings("architectures")
                                  .at(0);
      return;
    }
    const Config config = Config::read(path);
    if (config.has("architectures")) revision.architecture = config.strings("architectures").at(0);
    if (const std::string type = element_type_of(config); !type.empty())
      revision.format += " " + type;
  } catch (const std::exception&) {
    revision.architecture.clear();  // a list of what is here must not end at a file that is damaged
    revision.format += ", unreadable";
  }
}

CachedRevision read_revision(const std::string& snapshot, std::string commit) {
  CachedRevision out{
      .commit = std::move(commit), .refs = {}, .files = {}, .architecture = {}, .format = {}};
  std::set<std::string> blobs;
  for (const std::string& path : files_below(snapshot)) {
    if (path.ends_with(kUnfinished)) continue;
    out.files.push_back(read_file_entry(snapshot, path));
    const CachedFile& file = out.files.back();
    const bool is_first = file.blob.empty() || blobs.insert(file.blob).second;
    if (is_first) out.size_bytes += std::max<int64_t>(file.size_bytes, 0);
  }
  describe(out, snapshot);
  return out;
}

std::map<std::string, std::vector<std::string>> refs_by_commit(const std::string& folder) {
  std::map<std::string, std::vector<std::string>> out;
  for (const std::string& name : files_below(folder)) {
    if (name.ends_with(kUnfinished)) continue;
    try {
      out[read_ref(format("{}/{}", folder, name))].push_back(name);
    } catch (const Error&) {
      continue;  // a ref that leads nowhere names no revision
    }
  }
  return out;
}

CachedModel read_model(const std::string& cache, const std::string& id) {
  CachedModel out{.id = id, .folder = format("{}/{}", cache, hub_cache_name(id)), .revisions = {}};
  auto refs = refs_by_commit(out.folder + "/refs");
  for (const std::string& commit : entries_of(out.folder + "/snapshots")) {
    if (commit.ends_with(kUnfinished)) continue;
    out.revisions.push_back(read_revision(format("{}/snapshots/{}", out.folder, commit), commit));
    out.revisions.back().refs = refs[commit];
  }
  for (const std::string& blob : entries_of(out.folder + "/blobs")) {
    const int64_t size = std::max<int64_t>(size_of(format("{}/blobs/{}", out.folder, blob)), 0);
    out.size_bytes += size;
    if (blob.ends_with(kUnfinished)) out.unfinished_bytes += size;
  }
  return out;
}

bool is_listed(const std::vector<std::string>& commits, const std::string& commit) {
  return std::ranges::find(commits, commit) != commits.end();
}

// The blobs that only the given revisions use.
std::map<std::string, int64_t> blobs_of(const CachedModel& model,
                                        const std::vector<std::string>& commits,
                                        bool are_listed) {
  std::map<std::string, int64_t> out;
  for (const CachedRevision& revision : model.revisions)
    if (is_listed(commits, revision.commit) == are_listed)
      for (const CachedFile& file : revision.files)
        if (!file.blob.empty() && file.size_bytes >= 0) out[file.blob] = file.size_bytes;
  return out;
}

void remove_all(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);  // removes links, not what they lead to
  if (error) fail(ErrorCode::unavailable, "{}: cannot be removed: {}", path, error.message());
}

void remove_one(const CachedModel& model, const CachedRevision& revision) {
  for (const std::string& ref : revision.refs) remove_all(format("{}/refs/{}", model.folder, ref));
  const std::string snapshot = format("{}/snapshots/{}", model.folder, revision.commit);
  const std::string going = snapshot + std::string(kUnfinished);
  remove_all(going);
  std::error_code error;
  fs::rename(snapshot, going, error);  // found no more, whatever happens to the rest
  if (error) fail(ErrorCode::unavailable, "{}: cannot be removed: {}", snapshot, error.message());
  remove_all(going);
}

}  // namespace

std::vector<CachedModel> cached_models(const std::string& cache) {
  std::vector<CachedModel> out;
  for (const std::string& id : cached_ids(cache)) out.push_back(read_model(cache, id));
  std::ranges::sort(out, {}, &CachedModel::id);
  return out;
}

CachedModel cached_model_of(const std::string& cache, const std::string& id) {
  if (!cache.empty() && parse_hub_id(id) &&
      is_directory(format("{}/{}", cache, hub_cache_name(id))))
    return read_model(cache, id);
  const std::vector<std::string> near = near_names(id, cached_ids(cache));
  fail(ErrorCode::not_found,
       "{}: not in {}{}",
       id,
       cache.empty() ? "the Hugging Face cache: neither HF_HUB_CACHE, HF_HOME nor HOME is set"
                     : cache,
       near.empty() ? "" : format("; did you mean {}?", fmt::join(near, ", ")));
}

const CachedRevision& revision_of(const CachedModel& model, std::string_view name) {
  const CachedRevision* found = nullptr;
  for (const CachedRevision& revision : model.revisions) {
    if (revision.commit == name || std::ranges::find(revision.refs, name) != revision.refs.end())
      return revision;
    if (name.size() < kMinCommitDigits || !revision.commit.starts_with(name)) continue;
    if (found != nullptr)
      fail(ErrorCode::invalid_argument, "{}: two revisions begin with {}", model.id, name);
    found = &revision;
  }
  if (found == nullptr)
    fail(ErrorCode::not_found, "{}: revision {} is not in {}", model.id, name, model.folder);
  return *found;
}

Removal plan_removal(const CachedModel& model, const std::vector<std::string>& commits) {
  Removal out{.commits = commits};
  const bool is_whole = commits.size() == model.revisions.size();
  if (is_whole) {
    out.freed_bytes = model.size_bytes;
    return out;
  }
  const auto staying = blobs_of(model, commits, false);
  for (const auto& [blob, bytes] : blobs_of(model, commits, true))
    (staying.contains(blob) ? out.kept_bytes : out.freed_bytes) += bytes;
  return out;
}

void remove_revisions(const std::string& cache, const CachedModel& model, const Removal& removal) {
  const BlobStore store(cache, model.id);
  store.prepare();
  const FileLock lock = store.lock();
  const auto staying = blobs_of(model, removal.commits, false);
  for (const CachedRevision& revision : model.revisions)
    if (is_listed(removal.commits, revision.commit)) remove_one(model, revision);
  if (removal.commits.size() == model.revisions.size()) return remove_all(model.folder);
  for (const auto& [blob, bytes] : blobs_of(model, removal.commits, true))
    if (!staying.contains(blob)) remove_all(format("{}/blobs/{}", model.folder, blob));
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// The order of the cache's variables is huggingface_hub's.
#include "weights/model_path.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <optional>

#include "base/file.h"
#include "weights/hub_cache.h"
#include "weights/near_names.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

// A model that comes with a build, or that one of its commands makes.
struct OwnModel {
  std::string_view name;
  std::string_view file;     // in its folder, once it is there whole
  bool is_folder;            // the model is the folder, else the file
  std::string_view command;  // that brings it
};
constexpr OwnModel kOwnModels[] = {
    {"smollm2-135m", "model.gguf", false, "./dev demo"},
    {"whisper-tiny.en", "config.json", true, "./dev setup whisper-tiny.en"},
};

std::vector<std::string> own_names() {
  std::vector<std::string> out;
  for (const OwnModel& model : kOwnModels) out.emplace_back(model.name);
  return out;
}

constexpr const char* kSpeechTokenizer = "/vq32k-phoneme-tokenizer";

std::string joined(const std::vector<std::string>& items) {
  return format("{}", fmt::join(items, ", "));
}

// ": did you mean a, b?", or nothing.
std::string hint(const std::vector<std::string>& near) {
  return near.empty() ? "" : format("; did you mean {}?", joined(near));
}

// A GGUF model split over several files counts once, by its first part.
std::vector<std::string> gguf_models_in(const std::string& folder) {
  std::vector<std::string> out;
  for (std::string& name : entries_of(folder)) {
    const size_t of = name.rfind("-of-");
    const bool is_later_part = of != std::string::npos && of >= 6 && name[of - 6] == '-' &&
                               name.substr(of - 5, 5) != "00001";
    const bool is_projector = name.starts_with("mmproj");
    if (name.ends_with(".gguf") && !is_later_part && !is_projector) out.push_back(std::move(name));
  }
  return out;
}

// GLM-TTS: networks side by side, each in a folder of its own.
bool is_speech_folder(const std::string& folder) {
  return file_exists(folder + "/llm/config.json") && is_directory(folder + kSpeechTokenizer);
}

bool has_config(const std::string& folder) {
  return file_exists(folder + "/config.json") || is_speech_folder(folder);
}

// The folder itself if it has a config.json, else its one GGUF model.
std::string model_in(const std::string& folder) {
  if (has_config(folder)) return folder;
  const std::vector<std::string> models = gguf_models_in(folder);
  if (models.size() == 1) return folder + "/" + models.front();
  if (models.empty())
    fail(ErrorCode::not_found,
         "{}: neither a config.json nor a .gguf file: is this a model folder?",
         folder);
  fail(ErrorCode::invalid_argument,
       "{}: {} GGUF models ({}): name one of the files",
       folder,
       models.size(),
       joined(models));
}

[[noreturn]] void fail_not_cached(const HubId& id,
                                  const std::string& looked_in,
                                  std::string_view what) {
  const std::string revision = id.revision == kDefaultRevision ? "" : "@" + id.revision;
  throw ModelNotCached(
      format("{}: {} in {}, and nothing is downloaded by itself; fetch it with: quern pull {}{}",
             id.repository,
             what,
             looked_in,
             id.repository,
             revision));
}

// The snapshot's folder: by a ref, or by the commit itself.
std::string snapshot_folder(const HubId& id, const std::string& repository) {
  const std::string ref = repository + "/refs/" + id.revision;
  std::string commit = id.revision;
  if (file_exists(ref)) commit = read_ref(ref);
  std::string folder = repository + "/snapshots/" + commit;
  if (!is_directory(folder))
    fail_not_cached(id, repository, format("revision {} is not", id.revision));
  return folder;
}

std::string cached_model(const HubId& id, const std::string& cache) {
  const std::string repository = cache + "/" + hub_cache_name(id.repository);
  if (cache.empty() || !is_directory(repository)) {
    const std::string where =
        cache.empty() ? "the Hugging Face cache (neither HF_HUB_CACHE, HF_HOME nor HOME is set)"
                      : cache;
    fail_not_cached(id, where, format("not{}", hint(near_names(id.repository, cached_ids(cache)))));
  }
  const std::string folder = snapshot_folder(id, repository);
  if (!has_config(folder) && gguf_models_in(folder).empty())
    fail_not_cached(id, folder, "neither a config.json nor a .gguf file");
  return model_in(folder);
}

std::string own_model(const OwnModel& model, const ModelLookup& environment) {
  std::vector<std::string> looked_for;
  for (const std::string& folder : environment.embedded_folders) {
    const std::string own = format("{}/{}", folder, model.name);
    looked_for.push_back(format("{}/{}", own, model.file));
    if (file_exists(looked_for.back())) return model.is_folder ? own : looked_for.back();
  }
  throw ModelNotCached(
      format("{}: the embedded model is not here: looked for {}; fetch it with: {}",
             model.name,
             looked_for.empty() ? "it in no folder" : joined(looked_for),
             model.command));
}

// A path that leads nowhere: what lies beside it may be what was meant.
[[noreturn]] void fail_no_path(const std::string& name) {
  const fs::path path(name);
  const std::string parent = path.parent_path().empty() ? "." : path.parent_path().string();
  fail(ErrorCode::not_found,
       "{}: no such file or folder{}",
       name,
       hint(near_names(path.filename().string(), entries_of(parent))));
}

bool looks_like_path(std::string_view name) {
  constexpr std::array<std::string_view, 4> kStarts = {"/", "./", "../", "~"};
  constexpr std::array<std::string_view, 3> kEnds = {".gguf", ".safetensors", "/"};
  return std::ranges::any_of(kStarts,
                             [&](std::string_view start) { return name.starts_with(start); }) ||
         std::ranges::any_of(kEnds, [&](std::string_view end) { return name.ends_with(end); });
}

// A name without a slash that is neither embedded nor cached.
[[noreturn]] void fail_unknown(const std::string& name, const std::string& cache) {
  std::vector<std::string> known = cached_ids(cache);
  std::ranges::copy(own_names(), std::back_inserter(known));
  fail(ErrorCode::not_found,
       "{}: expected a folder, a .gguf file, an id ORG/NAME in the Hugging Face cache, or one of "
       "{}{}",
       name,
       joined(own_names()),
       hint(near_names(name, known)));
}

std::string path_of(const std::string& name,
                    const std::optional<HubId>& id,
                    const ModelLookup& environment) {
  const std::string cache = hub_cache_folder(environment);
  const auto own = std::ranges::find(kOwnModels, name, &OwnModel::name);
  if (own != std::end(kOwnModels)) return own_model(*own, environment);
  if (looks_like_path(name) || !id) fail_no_path(name);
  const bool has_organisation = id->repository.find('/') != std::string::npos;
  if (!has_organisation &&
      (cache.empty() || !is_directory(cache + "/" + hub_cache_name(id->repository))))
    fail_unknown(name, cache);
  return cached_model(*id, cache);
}

}  // namespace

std::string hub_cache_folder(const ModelLookup& environment) {
  if (!environment.hf_hub_cache.empty()) return environment.hf_hub_cache;
  if (!environment.hf_home.empty()) return environment.hf_home + "/hub";
  if (!environment.xdg_cache_home.empty()) return environment.xdg_cache_home + "/huggingface/hub";
  return environment.home.empty() ? "" : environment.home + "/.cache/huggingface/hub";
}

std::string ResolvedModel::tokenizer_path() const {
  return speech_folder.empty() ? path : speech_folder + kSpeechTokenizer;
}

namespace {

ResolvedModel model_at(const std::string& path, std::string name) {
  if (is_speech_folder(path)) return {path + "/llm", std::move(name), path};
  return {path, std::move(name)};
}

}  // namespace

ResolvedModel resolve_model(std::string_view name, const ModelLookup& environment) {
  const std::string argument(name);
  if (argument.empty() || argument.find('\0') != std::string::npos)
    fail(ErrorCode::invalid_argument,
         "MODEL: expected a folder, a .gguf file, ORG/NAME or one of {}",
         joined(own_names()));
  if (is_directory(argument)) return model_at(model_in(argument), argument);
  if (file_exists(argument)) return {argument, argument};
  const std::optional<HubId> id = looks_like_path(name) ? std::nullopt : parse_hub_id(name);
  return model_at(path_of(argument, id, environment), id ? id->repository : argument);
}

}  // namespace quern

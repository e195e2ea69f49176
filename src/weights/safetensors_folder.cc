// SPDX-License-Identifier: Apache-2.0
// A checkpoint folder: config.json beside one safetensors file, or beside an index and its shards.
#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "weights/config_names.h"
#include "weights/mapped_checkpoint.h"
#include "weights/safetensors.h"
#include "weights/stored_json.h"
#include "weights/tensor_names.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

// Adds all tensors of one file; `files_of` remembers where each came from, for the index to be
// checked against.
void add_file(MappedCheckpoint& out,
              const std::string& folder,
              const std::string& file,
              std::map<std::string, std::string>& file_of) {
  const std::string path = folder + "/" + file;
  const std::span<const std::byte> bytes = out.own(MappedFile(path));
  for (SafetensorsEntry& e : parse_safetensors_header(bytes, path).entries) {
    const auto [it, is_new] = file_of.emplace(canonical_name(e.name), file);
    if (!is_new)
      fail(ErrorCode::data_loss, "{}: tensor {} is also in {}", path, e.name, it->second);
    out.add(
        {std::move(e.name), e.stored, e.shape, {}}, bytes.subspan(e.begin, e.end - e.begin), path);
  }
}

// Names inside the folder only: an index from outside must not make us open other files. Links stay
// allowed, because the Hugging Face cache is made of them.
void expect_inside(const std::string& file, const std::string& index) {
  const fs::path path(file);
  const bool climbs = std::ranges::any_of(path, [](const fs::path& part) { return part == ".."; });
  if (file.empty() || path.is_absolute() || climbs || file.find('\0') != std::string::npos ||
      !file.ends_with(".safetensors"))
    fail(ErrorCode::data_loss,
         "{}: shard \"{}\": expected the name of a .safetensors file in this folder",
         index,
         file);
}

// canonical tensor name -> shard
std::map<std::string, std::string> read_index(const std::string& index) {
  // Checkpoints of many experts list hundreds of thousands of tensors: far larger than any
  // config.json.
  constexpr JsonLimits kLimits{.max_bytes = size_t{256} << 20, .max_depth = 16};
  const auto root =
      std::make_shared<const Json>(parse_stored_json(MappedFile(index).text(), index, kLimits));
  const Config config(root, root.get(), index);
  const Json& map = config.sub("weight_map").json();
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : map.get_ref<const Json::object_t&>()) {
    if (!file.is_string())
      fail(ErrorCode::data_loss, "{}: tensor {}: expected a file name", index, name);
    expect_inside(file.get_ref<const std::string&>(), index);
    out.emplace(canonical_name(name), file.get<std::string>());
  }
  if (out.empty()) fail(ErrorCode::data_loss, "{}: weight_map is empty", index);
  return out;
}

void add_shards(MappedCheckpoint& out, const std::string& folder) {
  const std::string index = folder + "/" + std::string(kIndex);
  const std::map<std::string, std::string> wanted = read_index(index);
  std::set<std::string> shards;
  for (const auto& [name, file] : wanted) shards.insert(file);
  std::map<std::string, std::string> file_of;
  for (const std::string& shard : shards) {
    if (!file_exists(format("{}/{}", folder, shard)))
      fail(
          ErrorCode::not_found, "{}: shard {} is missing: is the download complete?", index, shard);
    add_file(out, folder, shard, file_of);
  }
  for (const auto& [name, file] : wanted) {
    const auto found = file_of.find(name);
    if (found == file_of.end())
      fail(ErrorCode::data_loss, "{}: tensor {} is not in {} nor in any shard", index, name, file);
    if (found->second != file)
      fail(ErrorCode::data_loss,
           "{}: tensor {} should be in {}, it is in {}",
           index,
           name,
           file,
           found->second);
  }
}

std::vector<std::string> files_ending(const std::string& folder, std::string_view ending) {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    std::string name = entry.path().filename().string();
    if (name.ends_with(ending)) out.push_back(std::move(name));
  }
  std::ranges::sort(out);
  return out;
}

// No file of the usual names: one other safetensors file is taken; pickled weights get told apart
// from none at all.
void add_other(MappedCheckpoint& out, const std::string& folder) {
  std::map<std::string, std::string> file_of;
  const std::vector<std::string> files = files_ending(folder, ".safetensors");
  if (files.size() == 1) return add_file(out, folder, files.front(), file_of);
  if (files.size() > 1)
    fail(ErrorCode::data_loss,
         "{}: {} safetensors files ({}, …) and no {}",
         folder,
         files.size(),
         files.front(),
         kIndex);
  for (const std::string_view ending : {".bin", ".pt", ".pth"})
    if (const auto pickled = files_ending(folder, ending); !pickled.empty())
      fail(ErrorCode::unsupported,
           "{}: weights only as {}: expected safetensors; convert them first",
           folder,
           pickled.front());
}

}  // namespace

std::unique_ptr<Checkpoint> open_safetensors_folder(const std::string& folder) {
  const std::string config = folder + "/config.json";
  if (!file_exists(config))
    fail(ErrorCode::not_found, "{}: no config.json: is this a model folder?", folder);
  auto out = std::make_unique<MappedCheckpoint>(canonical_config(Config::read(config)));
  std::map<std::string, std::string> file_of;
  if (file_exists(folder + "/" + std::string(kSingle)))
    add_file(*out, folder, std::string(kSingle), file_of);
  else if (file_exists(folder + "/" + std::string(kIndex)))
    add_shards(*out, folder);
  else
    add_other(*out, folder);
  return out;
}

}  // namespace quern

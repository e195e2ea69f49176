// SPDX-License-Identifier: Apache-2.0
#include "quantize/source_folder.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "quantize/staging.h"

namespace quern {

namespace fs = std::filesystem;

WeightFile open_weight_file(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name;
  MappedFile file(path);
  SafetensorsHeader header = parse_safetensors_header(file.bytes(), path);
  size_t length = 0;
  for (size_t i = 0; i < 8; ++i) length |= static_cast<size_t>(file.bytes()[i]) << (8 * i);
  std::string text(file.text().substr(0, 8 + length));
  return {name, std::move(file), std::move(text), std::move(header)};
}

SourceFolder::SourceFolder(const std::string& folder) : path(folder), checkpoint(nullptr) {
  if (!is_directory(folder))
    fail(ErrorCode::not_found,
         "{}: expected a folder with config.json and safetensors files; GGUF files cannot be "
         "repaired",
         folder);
  checkpoint = open_checkpoint(folder);
  if (checkpoint->total_bytes() == 0)
    fail(ErrorCode::not_found, "{}: holds no weights: is the download complete?", folder);
  config_text = read_file(folder + "/" + std::string(kConfigFile));
  for (const std::string& name : files_beneath(folder)) {
    if (name == kConfigFile) continue;
    if (name == kIndexFile)
      index_text = read_file(folder + "/" + name);
    else if (name.ends_with(".safetensors") && name.find('/') == std::string::npos)
      weights.push_back(open_weight_file(folder, name));
    else
      others.push_back(name);
  }
}

void change_size(Json& config, std::string_view key, int64_t before, int64_t after) {
  const std::string name(key);
  if (config.contains("text_config") && config["text_config"].is_object()) {
    config["text_config"][name] = after;
    if (config.contains(name) && config[name] == before) config[name] = after;
  } else {
    config[name] = after;
  }
}

std::string SourceFolder::identity() const {
  Hash128 hash = hash_bytes(std::as_bytes(std::span(config_text)));
  hash = hash_chain(hash, std::as_bytes(std::span(index_text)));
  for (const WeightFile& w : weights) {
    const fs::path real = fs::canonical(path + "/" + w.name);
    const std::string line = format(
        "{} {} {} ", w.name, w.file.size(), fs::last_write_time(real).time_since_epoch().count());
    hash = hash_chain(hash, std::as_bytes(std::span(line)));
    hash = hash_chain(hash, std::as_bytes(std::span(w.header_text)));
  }
  return hash.hex();
}

}  // namespace quern

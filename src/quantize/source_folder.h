// SPDX-License-Identifier: Apache-2.0
// SourceFolder: a checkpoint folder as the files it is made of, each weight file with its header in
// the order and spelling it has on disk.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "weights/safetensors.h"

namespace quern {

struct WeightFile {
  std::string name;  // "model-00001-of-00002.safetensors"
  MappedFile file;
  std::string header_text;  // length and JSON, as stored
  SafetensorsHeader header;

  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const {
    return file.bytes().subspan(entry.begin, entry.end - entry.begin);
  }
};

inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";
inline constexpr std::string_view kConfigFile = "config.json";
inline constexpr std::string_view kCertificateFile = "quern-repair.json";

struct SourceFolder {
  // Throws not_found, data_loss or unsupported as open_checkpoint does.
  explicit SourceFolder(const std::string& path);

  std::string path;
  std::unique_ptr<Checkpoint> checkpoint;
  std::vector<WeightFile> weights;      // by name
  std::vector<std::string> others;      // every other file, but the config and the index
  std::string config_text, index_text;  // the latter empty where there is none

  // Names what the folder holds by headers, sizes and times, without reading weights.
  std::string identity() const;
};

// The same of one file.
WeightFile open_weight_file(const std::string& folder, const std::string& name);

// Sets a size of the text model in config.json. A config with a text_config may repeat its sizes
// beside it.
void change_size(Json& config, std::string_view key, int64_t before, int64_t after);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// One weight file of a checkpoint that is being made: what goes into it, and it, read back as a
// checkpoint before there is a whole one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"

namespace quern {

struct OutTensor {
  SafetensorsEntry entry;
  std::function<void(FileWriter&)> write;  // its bytes
};

using FileMetadata = std::vector<std::pair<std::string, std::string>>;

void write_part(const std::string& path,
                const std::vector<OutTensor>& tensors,
                const FileMetadata& metadata);

// The tensors of one file under the configuration of the whole.
std::unique_ptr<Checkpoint> open_part(const std::string& path, Config config);

// All tensors of `parts` (files in `folder`) in one file beside them, byte for byte, read back and
// compared.
void join_parts(const std::string& folder,
                const std::vector<std::string>& parts,
                const std::string& joined,
                const FileMetadata& metadata);

}  // namespace quern

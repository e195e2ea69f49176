// SPDX-License-Identifier: Apache-2.0
// The safetensors container: an 8-byte little-endian header length, a JSON header, then the
// tensors' bytes without gaps. Source: the format section of the safetensors project's README.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weights/checkpoint.h"

namespace quern {

struct SafetensorsEntry {
  std::string name;  // as stored
  Stored stored = Stored::f32;
  Shape shape;
  size_t begin = 0, end = 0;  // bytes from the start of the file
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by rising offset
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Reads and validates the header of a whole file in memory; `where` names it in messages. The
// format wants every byte after the header to belong to exactly one tensor, so gaps, overlaps and
// trailing bytes are data_loss, as are a header above 100 MB, repeated names, sizes that contradict
// dtype and shape, and offsets out of range. Unknown dtypes are unsupported.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view where);

// The entries of a JSON header alone, without its file: by rising offset, checked as above.
std::vector<SafetensorsEntry> parse_safetensors_entries(std::string_view text,
                                                        std::string_view where);

// How the format names the dtype. Not for block types.
std::string_view safetensors_name(Stored stored);

// A folder with config.json and model.safetensors, or model.safetensors.index.json and its shards.
std::unique_ptr<Checkpoint> open_safetensors_folder(const std::string& folder);
// One file on its own, with an empty config.
std::unique_ptr<Checkpoint> open_safetensors_file(const std::string& path);

}  // namespace quern

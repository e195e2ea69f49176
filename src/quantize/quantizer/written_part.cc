// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/written_part.h"

#include <cstring>

#include "base/error.h"
#include "quantize/source_folder.h"
#include "weights/safetensors.h"
#include "weights/with_config.h"

namespace quern {
namespace {

void expect_equal(const WeightFile& part, const WeightFile& whole, size_t& at) {
  for (const SafetensorsEntry& entry : part.header.entries) {
    const SafetensorsEntry& written = whole.header.entries.at(at++);
    const auto before = part.bytes(entry), after = whole.bytes(written);
    if (written.name != entry.name || written.stored != entry.stored ||
        !(written.shape == entry.shape) || before.size() != after.size() ||
        std::memcmp(before.data(), after.data(), before.size()) != 0)
      fail(ErrorCode::data_loss,
           "{}: {}: reads back as other bytes than were written: is the disk sound?",
           whole.name,
           entry.name);
  }
}

}  // namespace

void write_part(const std::string& path,
                const std::vector<OutTensor>& tensors,
                const FileMetadata& metadata) {
  std::vector<SafetensorsEntry> entries;
  for (const OutTensor& tensor : tensors) entries.push_back(tensor.entry);
  FileWriter out(path);
  const std::string header = safetensors_header(entries, metadata);
  out.write(std::as_bytes(std::span(header)));
  for (const OutTensor& tensor : tensors) tensor.write(out);
  out.finish();
}

std::unique_ptr<Checkpoint> open_part(const std::string& path, Config config) {
  return with_config(open_safetensors_file(path), std::move(config));
}

void join_parts(const std::string& folder,
                const std::vector<std::string>& parts,
                const std::string& joined,
                const FileMetadata& metadata) {
  std::vector<WeightFile> files;
  std::vector<SafetensorsEntry> entries;
  for (const std::string& part : parts) {
    files.push_back(open_weight_file(folder, part));
    for (const SafetensorsEntry& entry : files.back().header.entries) entries.push_back(entry);
  }
  {
    FileWriter out(folder + "/" + joined);
    const std::string header = safetensors_header(entries, metadata);
    out.write(std::as_bytes(std::span(header)));
    for (const WeightFile& file : files)
      for (const SafetensorsEntry& entry : file.header.entries) out.write(file.bytes(entry));
    out.finish();
  }
  const WeightFile whole = open_weight_file(folder, joined);
  size_t at = 0;
  for (const WeightFile& file : files) expect_equal(file, whole, at);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf.h"

#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "weights/gguf_config.h"
#include "weights/gguf_header.h"
#include "weights/gguf_names.h"
#include "weights/mapped_checkpoint.h"

namespace quern {
namespace {

constexpr int64_t kMaxParts = 10000;      // the file names have five digits
constexpr size_t kMaxTemplate = 4 << 20;  // characters; real ones have thousands

struct GgufFile {
  MappedFile file;
  GgufHeader header;
};

GgufFile read_file_header(const std::string& path) {
  MappedFile file(path);
  GgufHeader header = parse_gguf_header(file.bytes(), path);
  return {std::move(file), std::move(header)};
}

// "dir/name-00001-of-00003.gguf" -> "dir/name-00002-of-00003.gguf"
std::string part_path(const std::string& first, int64_t part, int64_t count) {
  const std::string ending = format("-00001-of-{:05}.gguf", count);
  if (!first.ends_with(ending))
    fail(ErrorCode::invalid_argument,
         "{}: one of {} parts: expected the first, whose name ends in {}",
         first,
         count,
         ending);
  return format(
      "{}-{:05}-of-{:05}.gguf", first.substr(0, first.size() - ending.size()), part, count);
}

void expect_part(const GgufFile& file, int64_t part, int64_t count) {
  const auto number = file.header.metadata.integer("split.no").value_or(-1);
  const auto of = file.header.metadata.integer("split.count").value_or(-1);
  if (number != part || of != count)
    fail(ErrorCode::data_loss,
         "{}: expected part {} of {} (counted from 0), its metadata says {} of {}",
         file.file.path(),
         part,
         count,
         number,
         of);
}

std::vector<GgufFile> read_parts(const std::string& path) {
  std::vector<GgufFile> parts;
  parts.push_back(read_file_header(path));
  const int64_t count = with_context(
      path, [&] { return parts[0].header.metadata.integer("split.count").value_or(1); });
  if (count <= 1) return parts;
  if (count > kMaxParts)
    fail(
        ErrorCode::data_loss, "{}: split.count: {} parts, the limit is {}", path, count, kMaxParts);
  for (int64_t part = 2; part <= count; ++part)
    parts.push_back(read_file_header(part_path(path, part, count)));
  for (int64_t part = 0; part < count; ++part)
    expect_part(parts[static_cast<size_t>(part)], part, count);
  return parts;
}

std::vector<GgufTensor> all_tensors(std::vector<GgufFile>& parts) {
  std::vector<GgufTensor> out;
  for (GgufFile& part : parts)
    out.insert(out.end(),
               std::move_iterator(part.header.tensors.begin()),
               std::move_iterator(part.header.tensors.end()));
  const auto stated = parts[0].header.metadata.integer("split.tensors.count");
  if (stated && *stated != static_cast<int64_t>(out.size()))
    fail(ErrorCode::data_loss,
         "split.tensors.count: expected {} tensors in {} parts, found {}",
         *stated,
         parts.size(),
         out.size());
  return out;
}

// Heads over which the rows of a reordered tensor are spread; 0 for tensors that are stored as
// published.
int64_t reordered_heads(const GgufFamily& family, const Config& config, std::string_view name) {
  if (!family.interleaves_rotary) return 0;
  const auto is = [&](std::string_view stem) { return name.find(stem) != std::string_view::npos; };
  if (is(".self_attn.q_proj.")) return config.integer("num_attention_heads");
  return is(".self_attn.k_proj.") ? config.integer("num_key_value_heads") : 0;
}

TensorInfo published_info(const GgufFamily& family, const Config& config, GgufTensor& tensor) {
  TensorInfo info{published_name(tensor.name), tensor.stored, tensor.shape, {}};
  const int64_t heads = reordered_heads(family, config, info.name);
  if (heads > 0)
    info.row_order = with_context(tensor.name, [&] {
      return rotary_row_order(info.shape.rank() == 0 ? 1 : info.shape[0], heads);
    });
  return info;
}

std::unique_ptr<Checkpoint> open(const std::string& path) {
  std::vector<GgufFile> parts = read_parts(path);
  return with_context(path, [&] {
    const GgufMetadata& metadata = parts[0].header.metadata;
    std::vector<GgufTensor> tensors = all_tensors(parts);
    const auto architecture = metadata.string("general.architecture");
    if (!architecture) fail(ErrorCode::data_loss, "key general.architecture is missing");
    const GgufFamily& family = gguf_family(*architecture);
    const auto root = std::make_shared<const Json>(gguf_config_json(family, metadata, tensors));
    auto out = std::make_unique<MappedCheckpoint>(Config(root, root.get(), path));
    for (GgufTensor& tensor : tensors)
      out->add(published_info(family, out->config(), tensor), tensor.bytes, "tensors");
    for (GgufFile& part : parts) out->own(std::move(part.file));
    return out;
  });
}

// Runs `read` on the metadata of the (first) file.
template <typename Read>
auto from_metadata(const std::string& path, Read&& read) {
  const GgufFile file = read_file_header(path);
  return with_context(path, [&] { return read(file.header.metadata); });
}

int32_t token_id(const GgufMetadata& metadata, std::string_view key) {
  const int64_t id = metadata.integer(key).value_or(-1);
  if (id < -1 || id > INT32_MAX) fail(ErrorCode::data_loss, "key {}: {} is no token id", key, id);
  return static_cast<int32_t>(id);
}

std::vector<std::string> copied(const std::vector<std::string_view>& views) {
  return {views.begin(), views.end()};
}

GgufVocabulary vocabulary_of(const GgufMetadata& metadata) {
  const auto model = metadata.string("tokenizer.ggml.model");
  if (!model)
    fail(ErrorCode::not_found,
         "key tokenizer.ggml.model is missing: the file carries no vocabulary");
  GgufVocabulary out;
  out.model = *model;
  out.pre = metadata.string("tokenizer.ggml.pre").value_or("");
  out.tokens = copied(metadata.strings("tokenizer.ggml.tokens"));
  for (const int64_t type : metadata.integers("tokenizer.ggml.token_type"))
    out.token_types.push_back(static_cast<int32_t>(type));
  out.merges = copied(metadata.strings("tokenizer.ggml.merges"));
  out.bos = token_id(metadata, "tokenizer.ggml.bos_token_id");
  out.eos = token_id(metadata, "tokenizer.ggml.eos_token_id");
  out.pad = token_id(metadata, "tokenizer.ggml.padding_token_id");
  out.add_bos = metadata.boolean("tokenizer.ggml.add_bos_token");
  out.add_eos = metadata.boolean("tokenizer.ggml.add_eos_token");
  return out;
}

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const std::string& path) {
  return open(path);
}

GgufVocabulary read_gguf_vocabulary(const std::string& path) {
  return from_metadata(path, vocabulary_of);
}

std::string gguf_chat_template(const std::string& path) {
  return from_metadata(path, [](const GgufMetadata& metadata) {
    const auto text = metadata.string("tokenizer.chat_template").value_or("");
    if (text.size() > kMaxTemplate)
      fail(ErrorCode::data_loss,
           "tokenizer.chat_template: {} characters, the limit is {}",
           text.size(),
           kMaxTemplate);
    return std::string(text);
  });
}

Json gguf_generation_config(const std::string& path) {
  return from_metadata(path, gguf_generation_json);
}

}  // namespace quern

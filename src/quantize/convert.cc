// SPDX-License-Identifier: Apache-2.0
#include "quantize/convert.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "quantize/int_layer.h"
#include "quantize/proof.h"
#include "quantize/source_folder.h"
#include "quantize/staging.h"
#include "weights/safetensors_writer.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

// The tensor that stands for a packed layer, and those that go with it.
constexpr std::string_view kAnchors[] = {".qweight", ".weight_packed"};
constexpr std::string_view kParts[] = {".qzeros",
                                       ".scales",
                                       ".g_idx",
                                       ".weight_scale",
                                       ".weight_shape",
                                       ".weight_zero_point",
                                       ".weight_g_idx"};
// What tools write beside config.json of the old layout.
const std::set<std::string, std::less<>> kOldConfigs = {"quantize_config.json",
                                                        "quant_config.json"};

// "model.layers.0.mlp.up_proj" of its anchor; empty of anything else.
std::string layer_of(std::string_view tensor) {
  for (const std::string_view anchor : kAnchors)
    if (tensor.ends_with(anchor))
      return std::string(tensor.substr(0, tensor.size() - anchor.size()));
  return "";
}

class Converter {
 public:
  Converter(const ConvertRequest& request, const SourceFolder& source)
      : request_(request), source_(source), layout_(parse_layout(request.to)) {
    for (const WeightFile& file : source.weights)
      for (const SafetensorsEntry& entry : file.header.entries)
        if (const std::string layer = layer_of(entry.name); !layer.empty()) layers_.insert(layer);
    if (layers_.empty())
      fail(ErrorCode::unsupported, "{}: holds no layers of 4-bit integers", request.model);
    for (const std::string& layer : layers_) needs_.add(read(layer));
    expect_exact(layout_, needs_);
  }

  void write(Staging& staging) const {
    int64_t bytes = 0;
    for (const WeightFile& file : source_.weights)
      bytes += static_cast<int64_t>(file.file.bytes().size());
    staging.expect_room(bytes + bytes / 16);
    Json places = Json::object();  // the file of each tensor
    for (const WeightFile& file : source_.weights) {
      const std::vector<SafetensorsEntry> entries = entries_of(file);
      for (const SafetensorsEntry& entry : entries) places[entry.name] = file.name;
      if (staging.is_finished(file.name)) continue;
      write_file(file, entries, staging.folder() + "/" + file.name);
      staging.set_finished(file.name);
    }
    write_file_whole(staging.folder() + "/" + std::string(kConfigFile), config());
    if (!source_.index_text.empty())
      write_file_whole(staging.folder() + "/" + std::string(kIndexFile), index(places));
    for (const std::string& name : source_.others)
      if (!kOldConfigs.contains(name) && name != kCertificateFile)
        carry_file(source_.path + "/" + name, staging.folder() + "/" + name);
  }

  // Every layer decoded from both sides.
  void prove(const Checkpoint& made) const {
    for (const std::string& layer : layers_) {
      const Tensor before = dequantize(read_matrix(*source_.checkpoint, layer)),
                   after = dequantize(read_matrix(made, layer));
      if (before.shape() != after.shape() ||
          std::memcmp(before.raw(), after.raw(), static_cast<size_t>(before.bytes())) != 0)
        fail(ErrorCode::data_loss, "{}: decodes to other values than the source's", layer);
    }
  }
  size_t count() const { return layers_.size(); }

 private:
  IntLayer read(const std::string& layer) const { return read_int4(*source_.checkpoint, layer); }

  bool is_part(std::string_view tensor) const {
    return std::ranges::any_of(kParts, [&](std::string_view part) {
      return tensor.ends_with(part) &&
             layers_.contains(tensor.substr(0, tensor.size() - part.size()));
    });
  }

  // A layer is converted twice, for the header and for its bytes, so that no file is held.
  std::vector<SafetensorsEntry> entries_of(const WeightFile& file) const {
    std::vector<SafetensorsEntry> out;
    for (const SafetensorsEntry& entry : file.header.entries) {
      if (const std::string layer = layer_of(entry.name); !layer.empty()) {
        for (const NamedTensor& t : write_int_layer(read(layer), layer, layout_, needs_))
          out.push_back({t.name, t.stored, t.shape, 0, 0});
      } else if (!is_part(entry.name)) {
        out.push_back(entry);
      }
    }
    return out;
  }

  void write_file(const WeightFile& file,
                  std::span<const SafetensorsEntry> entries,
                  const std::string& path) const {
    FileWriter out(path);
    const std::string header = safetensors_header(entries, file.header.metadata);
    out.write(std::as_bytes(std::span(header)));
    for (const SafetensorsEntry& entry : file.header.entries) {
      if (const std::string layer = layer_of(entry.name); !layer.empty()) {
        for (const NamedTensor& t : write_int_layer(read(layer), layer, layout_, needs_))
          out.write(t.bytes);
      } else if (!is_part(entry.name)) {
        out.write(file.bytes(entry));
      }
    }
    out.finish();
  }

  std::string index(const Json& places) const {
    Json index = parse_json(source_.index_text, kIndexFile);
    index["weight_map"] = places;
    return index.dump(2) + "\n";
  }

  // Linear layers that are stored as floats.
  std::vector<std::string> plain_layers() const {
    std::vector<std::string> out;
    for (const WeightFile& file : source_.weights)
      for (const SafetensorsEntry& entry : file.header.entries) {
        constexpr std::string_view kWeight = ".weight";
        if (!entry.name.ends_with(kWeight) || entry.shape.rank() != 2) continue;
        const std::string layer = entry.name.substr(0, entry.name.size() - kWeight.size());
        if (!layer.ends_with("embed_tokens")) out.push_back(layer);
      }
    return out;
  }

  Json quantization() const {
    const int64_t group = needs_.group;
    if (layout_ == IntLayout::gptq)
      return {{"quant_method", "gptq"},
              {"bits", 4},
              {"group_size", group},
              {"sym", !needs_.has_zeros},
              {"desc_act", needs_.has_order},
              {"checkpoint_format", needs_.lowest_zero >= 1 ? "gptq" : "gptq_v2"}};
    if (layout_ == IntLayout::awq) {
      std::set<std::string>
          plain;  // by the first part of their names, outside of the decoder's layers
      for (const std::string& layer : plain_layers())
        if (layer.find("layers.") != std::string::npos)
          plain.insert(layer);
        else if (!layer.ends_with("lm_head"))
          plain.insert(layer.substr(0, layer.find('.')));
      return {{"quant_method", "awq"},
              {"bits", 4},
              {"group_size", group},
              {"zero_point", true},
              {"version", "gemm"},
              {"modules_to_not_convert", plain}};
    }
    const Json weights = {{"num_bits", 4},
                          {"type", "int"},
                          {"symmetric", !needs_.has_zeros},
                          {"strategy", "group"},
                          {"group_size", group},
                          {"dynamic", false},
                          {"actorder", needs_.has_order ? Json("group") : Json()}};
    return {{"quant_method", "compressed-tensors"},
            {"format", "pack-quantized"},
            {"quantization_status", "compressed"},
            {"config_groups",
             {{"group_0",
               {{"targets", {"Linear"}},
                {"weights", weights},
                {"input_activations", nullptr},
                {"output_activations", nullptr}}}}},
            {"ignore", plain_layers()}};
  }

  std::string config() const {
    Json config = parse_json(source_.config_text, kConfigFile);
    config.erase("compression_config");
    config["quantization_config"] = quantization();
    return config.dump(2) + "\n";
  }

  const ConvertRequest& request_;
  const SourceFolder& source_;
  const IntLayout layout_;
  std::set<std::string, std::less<>> layers_;
  IntNeeds needs_;
};

}  // namespace

std::map<std::string, std::string> convert(const ConvertRequest& request) {
  const SourceFolder source(request.model);
  const Converter converter(request, source);
  Staging staging(request.out, format("convert {} {}", request.to, source.identity()));
  Certificate found;
  try {
    converter.write(staging);
    converter.prove(*open_checkpoint(staging.folder()));
    found.findings["layers"] =
        format("{}, each decoded bit for bit as the source's", converter.count());
    if (request.checks_logits) prove_logits(request.model, staging.folder(), found);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::data_loss || e.code() == ErrorCode::unsupported) staging.discard();
    throw;
  }
  staging.publish();
  return found.findings;
}

}  // namespace quern

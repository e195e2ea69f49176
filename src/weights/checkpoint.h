// SPDX-License-Identifier: Apache-2.0
// Checkpoint: names -> bytes, over mapped files. Any sub-range of a tensor is read without reading
// the rest.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/quant_matrix.h"
#include "tensor/shard.h"
#include "weights/config.h"

namespace quern {

// How elements are stored: a DType, or one of GGUF's block types.
enum class Stored : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,  // 2^(b - 127): scales only
  f4,       // e2m1, two to a byte, the earlier one low
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q4_k,
  q5_k,
  q6_k,
  q2_k,
  q3_k,
  iq4_nl,
  iq4_xs,
  mxfp4,
};

std::string_view name_of(Stored stored);

struct TensorInfo {
  std::string name;  // as Hugging Face names it, whatever the container says
                     // ("model.layers.0.self_attn.q_proj.weight")
  Stored stored = Stored::f32;
  Shape shape;  // row-major, outermost first
  // Rows are stored in another order: row r of the tensor is stored row row_order[r] (Llama's
  // rotary permutation in GGUF).
  std::vector<int32_t> row_order;
};

class QuantizationConfig;

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // Null if there is no such tensor.
  virtual const TensorInfo* find(std::string_view name) const = 0;
  virtual std::vector<std::string> names() const = 0;  // sorted
  // The stored bytes of a tensor, in place. Throws not_found; unavailable for a checkpoint without
  // weights (config only).
  virtual std::span<const std::byte> bytes(std::string_view name) const = 0;
  virtual const Config& config() const = 0;  // config.json, or its equal made from GGUF metadata
  virtual int64_t total_bytes() const = 0;
  // Hints about all tensors below a prefix ("model.layers.0.mlp.up_proj"): they will be read soon;
  // they were read, and need not stay in this process's memory. What was borrowed from them stays
  // valid and comes back from disk when it is touched. From any thread.
  virtual void read_ahead(std::string_view) const {}
  virtual void give_back(std::string_view) const {}

  const TensorInfo& info(std::string_view name) const;  // throws not_found, naming near misses
  bool has(std::string_view name) const { return find(name) != nullptr; }
  // What config() or a file beside it states of the weights' quantization: read at the first call,
  // from any thread. Throws data_loss or unsupported naming file and key.
  const QuantizationConfig& quantization() const;

 private:
  mutable std::once_flag quantization_once_;
  mutable std::shared_ptr<const QuantizationConfig> quantization_;
};

// Opens a folder (safetensors, single or sharded, with config.json), a .gguf file, or one bare
// .safetensors, .pt, .pth (torch_file.h) or .onnx file (onnx_file.h), whose config is empty. A
// folder with a config.json and no weights opens with no tensors. Headers are validated fully:
// offsets in range, no overlap, no overflow, sizes bounded; throws not_found, data_loss or
// unsupported with the place.
//
// Tensor names, but those of .pt and .onnx files, are canonical: the published, older prefixes
// (`visual.`, `model.layers.`, `lm_head.`). Files saved with the newer ones (`model.visual.`,
// `model.language_model.`) are renamed on opening, and look-ups accept both.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path);
// `names_file` places the tensors of a folder whose names or layout this build does not know, and
// may change keys of its config (renamed_checkpoint.h); empty: quern_names.json in the folder, if
// it is there. Throws unsupported for a file of names and anything but a folder.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const std::string& names_file);

// Tensors known by shape alone, for models built on `meta`; bytes() throws unavailable. Keys of the
// config become the published ones, as on opening.
std::unique_ptr<Checkpoint> shapes_only_checkpoint(Config config, std::vector<TensorInfo> tensors);

// A whole tensor as a contiguous CPU tensor of its DType, borrowed from the mapping where it can
// be. Not for block types. On `meta`: shape only.
Tensor read_tensor(const Checkpoint& checkpoint,
                   std::string_view name,
                   Device device = Device::cpu());
// The same as float32 (norm weights, biases, scales).
Tensor read_f32(const Checkpoint& checkpoint, std::string_view name, Device device = Device::cpu());

}  // namespace quern

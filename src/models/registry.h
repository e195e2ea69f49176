// SPDX-License-Identifier: Apache-2.0
// The table of all models: architecture string → factory.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "nn/builder.h"
#include "nn/model.h"

namespace quern {

using ModelFactory = std::unique_ptr<Model> (*)(const Builder& b);

struct ModelEntry {
  std::string_view architecture;  // "Qwen2VLForConditionalGeneration"
  std::string_view model_type;    // "qwen2_vl": for configs without `architectures`
  ModelFactory make;
  Output head = Output::logits;  // what a checkpoint of this architecture ends in
};

std::span<const ModelEntry> model_table();

// The entry of the architecture that config.json asks for. Throws unsupported naming it and those
// that this build has.
const ModelEntry& model_entry(const Config& config);

// That model, its weights loaded through `b` (at the checkpoint's root; on Device::meta shapes
// only). Throws what model_entry throws, and unsupported for an output that the checkpoint lacks.
std::unique_ptr<Model> make_model(const Builder& b);

}  // namespace quern

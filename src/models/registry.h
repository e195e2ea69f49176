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
};

std::span<const ModelEntry> model_table();

// The model that config.json asks for, its weights loaded through `b` (at the checkpoint's root; on
// Device::meta shapes only). Throws unsupported naming the architecture and those that this build
// has.
std::unique_ptr<Model> make_model(const Builder& b);

}  // namespace quern

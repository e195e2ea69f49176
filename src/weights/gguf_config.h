// SPDX-License-Identifier: Apache-2.0
// The JSON files of a published checkpoint, made from GGUF metadata.
#pragma once

#include <span>

#include "base/json.h"
#include "weights/gguf_header.h"
#include "weights/gguf_names.h"

namespace quern {

// What config.json would say. Takes from the tensors what metadata leaves out: vocabulary size,
// tied embeddings, biases. Throws data_loss for missing keys, unsupported for sizes that differ
// from layer to layer.
Json gguf_config_json(const GgufFamily& family,
                      const GgufMetadata& metadata,
                      std::span<const GgufTensor> tensors);

// What generation_config.json would say: bos_token_id, pad_token_id, eos_token_id (an array: the
// end of the text, of a turn, of a message), and the sampling defaults if the file carries some.
Json gguf_generation_json(const GgufMetadata& metadata);

}  // namespace quern

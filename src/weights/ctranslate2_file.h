// SPDX-License-Identifier: Apache-2.0
// The model.bin of a CTranslate2 model: named variables. Source: ModelSpec._serialize in
// python/ctranslate2/specs/model_spec.py of the CTranslate2 project, binary version 6.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weights/checkpoint.h"

namespace quern {

struct Ctranslate2Model {
  std::string spec;       // what kind of model: "WhisperSpec"
  uint32_t revision = 0;  // of the layout of its variables
  // The variables under their names as stored ("decoder/layer_0/ffn/linear_0/weight"), and once
  // more under each alias; config() is empty.
  std::unique_ptr<Checkpoint> variables;
};

// Maps the file and checks it whole: every size lies within it, names are unique, aliases lead to
// variables, and nothing is left over; else data_loss. Other binary versions are unsupported.
Ctranslate2Model open_ctranslate2_file(const std::string& path);

}  // namespace quern

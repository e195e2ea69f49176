// SPDX-License-Identifier: Apache-2.0
// Any bytes as tokenizer.json give a tokenizer or an Error; a tokenizer that loads encodes and
// decodes.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer = quern::Tokenizer::from_json({reinterpret_cast<const char*>(data), size});
    const auto ids = tokenizer.encode("Hello hello,  it's 12345\n <|end|> 世é e\u0301");
    const auto text = tokenizer.decode(ids, {.skip_special = true});
    for (const int32_t id : ids) static_cast<void>(tokenizer.id_to_token(id));
  } catch (const quern::Error&) {  // what damage must lead to
  }
  return 0;
}

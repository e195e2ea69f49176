// SPDX-License-Identifier: Apache-2.0
// Any bytes as tokenizer.model give a tokenizer or an Error; a tokenizer that loads encodes and
// decodes.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer = quern::Tokenizer::from_sentencepiece(
        {reinterpret_cast<const char*>(data), size}, "", quern::SentencePieceFamily::spark);
    for (const bool is_parsed : {true, false}) {
      const auto ids = tokenizer.encode("Hello  <end> it's\t１２3\n <ret>世é e\u0301<unused6>",
                                        {.parse_special = is_parsed});
      const auto text = tokenizer.decode(ids, {.skip_special = true});
      for (const int32_t id : ids) static_cast<void>(tokenizer.id_to_token(id));
    }
  } catch (const quern::Error&) {  // what damage must lead to
  }
  return 0;
}

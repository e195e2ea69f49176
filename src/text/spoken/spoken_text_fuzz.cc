// SPDX-License-Identifier: Apache-2.0
// Any bytes are read aloud or refused for their length; what is said is valid UTF-8 and is cut into
// pieces that are the text again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "text/spoken/pieces.h"
#include "text/spoken/spoken_text.h"
#include "text/tokenizer/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string spoken = quern::spoken_text({reinterpret_cast<const char*>(data), size});
    if (spoken.empty() || quern::utf8_valid_prefix(spoken) != spoken.size()) std::abort();
    std::string joined;
    for (const std::string& piece : quern::split_spoken(spoken)) joined += piece;
    if (joined != spoken) std::abort();
  } catch (const quern::Error& e) {
    if (e.code() != quern::ErrorCode::invalid_argument) throw;
  }
  return 0;
}

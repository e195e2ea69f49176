// SPDX-License-Identifier: Apache-2.0
#include "api/api_error.h"
#include "api/speech/transcription_request.h"

// Forms with the boundary "b", and what their fields ask.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  try {
    const auto form = quern::parse_form_data(body, "multipart/form-data; boundary=b");
    std::vector<std::string> ignored;
    quern::TranscriptionRequest::parse(form, size % 2 == 0, ignored);
  } catch (const quern::Error&) {
  }
  return 0;
}

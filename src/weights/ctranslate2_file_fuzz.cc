// SPDX-License-Identifier: Apache-2.0
// Any bytes as a CTranslate2 model.bin: variables of the sizes that they state, or an Error.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "weights/ctranslate2_file.h"
#include "weights/stored.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  static const int file = ::memfd_create("input", MFD_CLOEXEC);
  if (::ftruncate(file, static_cast<off_t>(size)) != 0 ||
      ::pwrite(file, data, size, 0) != static_cast<ssize_t>(size))
    std::abort();
  try {
    const Ctranslate2Model model = open_ctranslate2_file(format("/proc/self/fd/{}", file));
    volatile unsigned sum = 0;  // so that every byte is read
    for (const std::string& name : model.variables->names()) {
      const TensorInfo& info = model.variables->info(name);
      const auto bytes = model.variables->bytes(name);
      if (static_cast<int64_t>(bytes.size()) != stored_bytes(info.stored, info.shape, name))
        std::abort();
      for (const std::byte b : bytes) sum = sum + static_cast<unsigned>(b);
    }
  } catch (const Error&) {
  }
  return 0;
}

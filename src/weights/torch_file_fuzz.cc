// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of torch.save, and as the pickle in one: tensors inside the file, or an
// Error.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "weights/pickle.h"
#include "weights/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  try {
    constexpr PickleName kKnown[] = {{"collections.OrderedDict", true}, {"torch.FloatStorage"}};
    (void)read_pickle(std::as_bytes(std::span(data, size)), kKnown);
  } catch (const Error&) {
  }
  static const int file = ::memfd_create("input", MFD_CLOEXEC);
  if (::ftruncate(file, static_cast<off_t>(size)) != 0 ||
      ::pwrite(file, data, size, 0) != static_cast<ssize_t>(size))
    std::abort();
  const std::string path = format("/proc/self/fd/{}", file);
  try {
    const auto checkpoint = open_torch_file(path);
    volatile unsigned sum = 0;  // so that every byte is read
    for (const std::string& name : checkpoint->names()) {
      const auto bytes = checkpoint->bytes(name);
      if (bytes.size() > 4 * size) std::abort();
      for (const std::byte b : bytes) sum = sum + static_cast<unsigned>(b);
    }
  } catch (const Error&) {
  }
  return 0;
}

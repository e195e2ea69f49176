// SPDX-License-Identifier: Apache-2.0
#include "build_id.h"

#include <link.h>

#include "base/format.h"
#include "version.h"

namespace quern {

Hash128 hash_of_program() {
  Hash128 out;
  const auto add = [](dl_phdr_info* info, size_t, void* data) {
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& part = info->dlpi_phdr[i];
      if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
      const auto* begin = reinterpret_cast<const std::byte*>(info->dlpi_addr + part.p_vaddr);
      auto& hash = *static_cast<Hash128*>(data);
      hash = hash_chain(hash, {begin, part.p_filesz});
    }
    return 1;  // the program comes first; its libraries do not matter
  };
  dl_iterate_phdr(add, &out);
  return out;
}

std::string build_id() {
  return format("{}-{:016x}", kVersion, hash_of_program().low);
}

}  // namespace quern

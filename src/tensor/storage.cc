// SPDX-License-Identifier: Apache-2.0
#include "tensor/storage.h"

#include <sys/mman.h>

#include <cstdlib>

#include "base/error.h"

namespace quern {
namespace {

// From here on a mapping of its own: whole huge pages spare the page walks that cost one weight
// stream a quarter of its speed.
constexpr int64_t kMapFrom = int64_t{4} << 20;
constexpr int64_t kHugePage = int64_t{2} << 20;

std::shared_ptr<Storage> map_storage(int64_t bytes) {
  const int64_t reserved = bytes + kHugePage;
  void* base = mmap(nullptr,
                    static_cast<size_t>(reserved),
                    PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1,
                    0);
  if (base == MAP_FAILED) fail(ErrorCode::exhausted, "cannot map {} bytes of memory", bytes);
  const auto start = (reinterpret_cast<uintptr_t>(base) + kHugePage - 1) / kHugePage * kHugePage;
  madvise(reinterpret_cast<void*>(start), static_cast<size_t>(bytes), MADV_HUGEPAGE);
  auto* storage = new Storage{reinterpret_cast<std::byte*>(start), bytes, Device::cpu()};
  return {storage, [base, reserved](Storage* s) {
            munmap(base, static_cast<size_t>(reserved));
            delete s;
          }};
}

}  // namespace

std::shared_ptr<Storage> allocate_storage(int64_t bytes, Device device) {
  QUERN_CHECK(bytes >= 0);
  if (device.is_meta()) return std::make_shared<Storage>(Storage{nullptr, bytes, device});
  if (device.kind != DeviceKind::cpu)
    fail(ErrorCode::unsupported, "no memory on device {} in this build", device.text());
  if (bytes >= kMapFrom) return map_storage(bytes);
  void* data =
      std::aligned_alloc(kAlignment, static_cast<size_t>(align_up(std::max<int64_t>(bytes, 1))));
  if (data == nullptr) fail(ErrorCode::exhausted, "cannot allocate {} bytes of memory", bytes);
  return {new Storage{static_cast<std::byte*>(data), bytes, device}, [](Storage* s) {
            std::free(s->data);
            delete s;
          }};
}

}  // namespace quern

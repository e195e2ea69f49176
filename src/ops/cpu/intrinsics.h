// SPDX-License-Identifier: Apache-2.0
// <immintrin.h>, whose undefined registers g++ 12 mistakes for mistakes (GCC bug 105593).
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace quern::ops::cpu {

// Asks memory for `bytes` that will be read from p on soon: for streams, on CPUs that read them
// faster so (those with AMX; Zen 4 reads slower). Twice as far ahead it helped half as much.
template <int64_t bytes>
inline void ask_ahead(const std::byte* p) {
  constexpr int64_t kAhead = 2048;
  for (int64_t at = 0; at < bytes; at += 64)
    _mm_prefetch(reinterpret_cast<const char*>(p + kAhead + at), _MM_HINT_T0);
}

// The same for one line, and it stays where it stands: the compiler gathers others, and lines that
// are asked for at once wait for each other.
template <int64_t ahead>
inline void ask_in_place(const std::byte* p) {
  asm volatile("prefetcht0 %c1(%0)" : : "r"(p), "i"(ahead));
}

// Asks for what is needed after other work, into the second cache.
inline void ask_for(const std::byte* p, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64)
    _mm_prefetch(reinterpret_cast<const char*>(p + at), _MM_HINT_T1);
}

}  // namespace quern::ops::cpu

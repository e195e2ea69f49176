// SPDX-License-Identifier: Apache-2.0
// <immintrin.h>, whose undefined registers g++ 12 mistakes for mistakes (GCC bug 105593).
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

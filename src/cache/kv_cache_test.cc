// SPDX-License-Identifier: Apache-2.0
#include "cache/kv_cache.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

KvSpec mixed() {
  KvSpec spec;
  spec.groups = {{.kind = KvKind::paged, .layers = 2, .kv_heads = 3, .head_size = 8},
                 {.kind = KvKind::none, .layers = 1},
                 {.kind = KvKind::latent, .layers = 4, .head_size = 20}};
  return spec;
}

TEST(KvSpec, CountsBytesByKind) {
  const KvSpec spec = mixed();
  EXPECT_EQ(spec.layers(), 7);
  EXPECT_EQ(spec.bytes_per_token(), (2 * 2 * 3 * 8 + 4 * 20) * 4);
}

TEST(KvSpec, QuantizedRowsCarryAScalePerTokenAndHead) {
  KvSpec spec = mixed();
  spec.dtype = DType::i8;
  EXPECT_EQ(spec.bytes_per_token(), 2 * 2 * 3 * (8 + 4) + 4 * (20 + 4));
  spec.dtype = DType::u4;
  EXPECT_EQ(spec.bytes_per_token(), 2 * 2 * 3 * (4 + 4) + 4 * (10 + 4));
}

TEST(KvCache, HasTheBytesThatTheSpecStates) {
  for (const Device device : {Device::cpu(), Device::meta()}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::i8, DType::f8_e4m3}) {
      KvSpec spec = mixed();
      spec.dtype = dtype;
      KvCache cache(spec, 5, 16, device);
      EXPECT_EQ(cache.bytes(), 5 * 16 * spec.bytes_per_token());
      EXPECT_EQ(cache.layer(1).v.shape(), (Shape{5, 3, 16, 8}));
      EXPECT_FALSE(cache.layer(2).k.defined());
      EXPECT_EQ(cache.layer(3).k.shape(), (Shape{5, 1, 16, 20}));
      EXPECT_FALSE(cache.layer(3).v.defined());
    }
  }
}

ErrorCode code_of(const KvSpec& spec, int64_t blocks, int block_size) {
  try {
    KvCache(spec, blocks, block_size, Device::meta());
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::internal;
}

TEST(KvCache, RefusesWhatItCannotKeep) {
  KvSpec spec = mixed();
  EXPECT_EQ(code_of(spec, int64_t{1} << 40, 16), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(spec, -1, 16), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(spec, 1, 0), ErrorCode::invalid_argument);
  spec.dtype = DType::u4;
  EXPECT_EQ(code_of(spec, 1, 16), ErrorCode::unsupported);
}

TEST(KvCache, SaysTheNumbersWhenMemoryIsShort) {
  KvSpec spec;
  for (const int64_t head_size :
       {2048, 60000}) {  // more than this machine's memory; more than 64 bits count
    spec.groups = {{.kind = KvKind::paged, .layers = 1, .kv_heads = 60000, .head_size = head_size}};
    try {
      KvCache(spec, 100'000'000, 16, Device::cpu());
      FAIL() << "did not throw";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::exhausted);
      EXPECT_NE(std::string(e.what()).find("100000000 blocks"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace quern

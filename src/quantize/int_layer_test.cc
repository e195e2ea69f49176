// SPDX-License-Identifier: Apache-2.0
#include "quantize/int_layer.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace quern {
namespace {

IntLayer layer_with_zeros(std::vector<uint8_t> zeros, float scale = 0.5f) {
  IntLayer out;
  out.rows = 8;
  out.cols = 16;
  out.group = 8;
  out.groups = 2;
  for (int i = 0; i < 128; ++i) out.codes.push_back(static_cast<uint8_t>(i % 16));
  out.zeros = std::move(zeros);
  out.scales = Tensor::empty({8, 2}, DType::bf16);
  for (uint16_t& s : out.scales.span<uint16_t>()) s = float_to_bf16(scale);
  return out;
}

IntNeeds needs_of(const IntLayer& layer) {
  IntNeeds out;
  out.add(layer);
  return out;
}

std::vector<uint8_t> zeros_from(uint8_t first, uint8_t second) {
  std::vector<uint8_t> out;
  for (int i = 0; i < 8; ++i) out.insert(out.end(), {first, second});
  return out;
}

TEST(IntLayer, StopsWhereALayoutCannotSayIt) {
  using enum IntLayout;
  const auto refuses = [](IntLayout layout, const IntNeeds& needs) {
    try {
      expect_exact(layout, needs);
      return false;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::unsupported);
      return true;
    }
  };
  const IntNeeds usual = needs_of(layer_with_zeros(zeros_from(3, 15))),
                  sixteen = needs_of(layer_with_zeros(zeros_from(1, 16))),
                  both = needs_of(layer_with_zeros(zeros_from(0, 16)));
  for (const IntLayout layout : {awq, gptq, compressed_tensors})
    EXPECT_FALSE(refuses(layout, usual));
  EXPECT_TRUE(refuses(awq, sixteen));
  EXPECT_TRUE(refuses(compressed_tensors, sixteen));
  EXPECT_FALSE(refuses(gptq, sixteen));
  EXPECT_TRUE(refuses(gptq, both));
  IntLayer ordered = layer_with_zeros(zeros_from(8, 8));
  ordered.of_group = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
  EXPECT_TRUE(refuses(awq, needs_of(ordered)));
  EXPECT_FALSE(refuses(compressed_tensors, needs_of(ordered)));
}

TEST(IntLayer, RoundsNoScale) {
  const IntLayer wide = layer_with_zeros(zeros_from(8, 8), 1e6f);  // beyond float16
  EXPECT_THROW(write_int_layer(wide, "p", IntLayout::awq, needs_of(wide)), Error);
  EXPECT_EQ(write_int_layer(wide, "p", IntLayout::compressed_tensors, needs_of(wide)).size(), 3);
}

TEST(IntLayer, PacksEightToAWord) {
  const IntLayer layer = layer_with_zeros(zeros_from(3, 15));
  const auto word = [](const NamedTensor& t, size_t i) {
    uint32_t out = 0;
    std::memcpy(&out, t.bytes.data() + 4 * i, 4);
    return out;
  };
  // codes[n, k] = k: AWQ's first word holds input 1 of eight outputs after the first; GPTQ's first
  // word inputs 0 to 7 of output 0.
  EXPECT_EQ(word(write_int_layer(layer, "p", IntLayout::awq, needs_of(layer))[0], 1), 0x11111111u);
  EXPECT_EQ(word(write_int_layer(layer, "p", IntLayout::gptq, needs_of(layer))[0], 0), 0x76543210u);
  EXPECT_EQ(word(write_int_layer(layer, "p", IntLayout::gptq, needs_of(layer))[1], 1), 0xeeeeeeeeu);
}

}  // namespace
}  // namespace quern

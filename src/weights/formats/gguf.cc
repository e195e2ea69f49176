// SPDX-License-Identifier: Apache-2.0
// GGUF's block types. A row of K elements is K/32 (or K/256) blocks, each with its own scale; a
// block's bytes are, little-endian:
//
// clang-format off
//   q4_0   d:f16                q[16]                    w = d (q - 8)           q[i]: elements i (low) and i + 16 (high)
//   q4_1   d:f16 m:f16          q[16]                    w = d q + m
//   q5_0   d:f16        h[4]    q[16]                    w = d (q - 16)          bit i of h: bit 4 of element i
//   q5_1   d:f16 m:f16  h[4]    q[16]                    w = d q + m
//   q8_0   d:f16                q[32] i8                 w = d q
//   q4_k   d:f16 m:f16  s[12]             q[128]         w = (d s_j) q - (m m_j)   j = element / 32; 6 bits
//   q5_k   d:f16 m:f16  s[12]   h[32]     q[128]         the same with 5 bits
//   q6_k   l[128] h[64] s[16] i8 d:f16                   w = (d s_j) (q - 32)      j = element / 16
//   q2_k   s[16] q[64] d:f16 m:f16                       w = (d s_j) q - (m m_j)   j = element / 16; 4 bits each in s
//   q3_k   h[32] q[64] s[12] d:f16                       w = (d (s_j - 32)) (q - 4)   j = element / 16; 6 bits
//   iq4_nl d:f16                q[16]                    w = d table[q]            as q4_0
//   iq4_xs d:f16 h:u16 s[4]     q[128]                   w = (d (s_j - 32)) table[q]  j = element / 32; 6 bits
//   mxfp4  e:u8                 q[16]                    w = 2^(e - 128) table[q]  e2m1, doubled
// clang-format on
//
// Those of 32 elements have one level of scales, those of 256 two. Minimums are stored as what is
// subtracted; QuantMatrix adds, so the sign bit of `m` is turned. Source: the block layouts of ggml
// as documented by the gguf Python package (quants.py).
#include <array>
#include <cstring>

#include "base/error.h"
#include "weights/formats/formats.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr uint16_t kSignBit = 0x8000;

uint16_t load_u16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] | p[1] << 8);
}
uint32_t load_u32(const uint8_t* p) {
  return load_u16(p) | static_cast<uint32_t>(load_u16(p + 2)) << 16;
}

// Where one block's parts go.
struct BlockOut {
  uint8_t* codes;
  uint8_t* scales;  // f16, bf16, u8 or i8
  uint8_t* minimums;
  uint16_t* super_scale;
  uint16_t* super_minimum;
};

void put_half(uint8_t* out, int bits16) {
  const auto bits = static_cast<uint16_t>(bits16);
  std::memcpy(out, &bits, sizeof bits);
}

// Elements i and i + 16 of a 32-element block lie in the halves of byte i; `offset` is subtracted.
void unpack_nibbles(const uint8_t* q, uint8_t offset, uint8_t* out) {
  for (int i = 0; i < 16; ++i) out[i] = static_cast<uint8_t>((q[i] & 15) - offset);
  for (int i = 0; i < 16; ++i) out[i + 16] = static_cast<uint8_t>((q[i] >> 4) - offset);
}

// Adds bit i of `high` to element i as its bit 4.
void add_fifth_bits(uint32_t high, uint8_t* codes) {
  for (uint32_t i = 0; i < 32; ++i)
    codes[i] = static_cast<uint8_t>(codes[i] + ((high >> i & 1) << 4));
}

void decode_q4_0(const uint8_t* in, const BlockOut& out) {
  put_half(out.scales, load_u16(in));
  unpack_nibbles(in + 2, 8, out.codes);
}

void decode_q4_1(const uint8_t* in, const BlockOut& out) {
  put_half(out.scales, load_u16(in));
  put_half(out.minimums, load_u16(in + 2));
  unpack_nibbles(in + 4, 0, out.codes);
}

void decode_q5_0(const uint8_t* in, const BlockOut& out) {
  put_half(out.scales, load_u16(in));
  unpack_nibbles(in + 6, 16, out.codes);
  add_fifth_bits(load_u32(in + 2), out.codes);
}

void decode_q5_1(const uint8_t* in, const BlockOut& out) {
  put_half(out.scales, load_u16(in));
  put_half(out.minimums, load_u16(in + 2));
  unpack_nibbles(in + 8, 0, out.codes);
  add_fifth_bits(load_u32(in + 4), out.codes);
}

void decode_q8_0(const uint8_t* in, const BlockOut& out) {
  put_half(out.scales, load_u16(in));
  std::memcpy(out.codes, in + 2, 32);
}

// Eight scales and eight minimums of 6 bits in 12 bytes: the first four of each whole in bytes 0..3
// and 4..7, whose top two bits complete the last four, which lie as nibbles in bytes 8..11 (scale
// low, minimum high).
void unpack_six_bits(const uint8_t* s, uint8_t* scales, uint8_t* minimums) {
  for (int j = 0; j < 4; ++j) {
    scales[j] = s[j] & 63;
    minimums[j] = s[j + 4] & 63;
    scales[j + 4] = static_cast<uint8_t>((s[j + 8] & 15) | s[j] >> 6 << 4);
    minimums[j + 4] = static_cast<uint8_t>(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
  }
}

void decode_k_head(const uint8_t* in, const BlockOut& out) {
  *out.super_scale = load_u16(in);
  *out.super_minimum = load_u16(in + 2) ^ kSignBit;
  unpack_six_bits(in + 4, out.scales, out.minimums);
}

// 32 bytes hold sub-block 2g in their low nibbles and 2g + 1 in their high ones.
void decode_q4_k(const uint8_t* in, const BlockOut& out) {
  decode_k_head(in, out);
  const uint8_t* q = in + 16;
  for (int g = 0; g < 4; ++g)
    for (int i = 0; i < 32; ++i) {
      out.codes[64 * g + i] = q[32 * g + i] & 15;
      out.codes[64 * g + 32 + i] = q[32 * g + i] >> 4;
    }
}

void decode_q5_k(const uint8_t* in, const BlockOut& out) {
  decode_k_head(in, out);
  const uint8_t* high = in + 16;
  const uint8_t* q = in + 48;
  for (int g = 0; g < 4; ++g)
    for (int i = 0; i < 32; ++i) {
      out.codes[64 * g + i] =
          static_cast<uint8_t>((q[32 * g + i] & 15) | (high[i] >> (2 * g) & 1) << 4);
      out.codes[64 * g + 32 + i] =
          static_cast<uint8_t>(q[32 * g + i] >> 4 | (high[i] >> (2 * g + 1) & 1) << 4);
    }
}

// Two halves of 128 elements; in each, 64 bytes of low nibbles and 32 bytes of four 2-bit parts
// make four runs of 32.
void decode_q6_k(const uint8_t* in, const BlockOut& out) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = in + 64 * half;
    const uint8_t* high = in + 128 + 32 * half;
    uint8_t* codes = out.codes + 128 * half;
    for (int run = 0; run < 4; ++run)
      for (int i = 0; i < 32; ++i) {
        const int nibble = run < 2 ? low[32 * run + i] & 15 : low[32 * (run - 2) + i] >> 4;
        codes[32 * run + i] = static_cast<uint8_t>((nibble | (high[i] >> (2 * run) & 3) << 4) - 32);
      }
  }
  std::memcpy(out.scales, in + 192, 16);
  *out.super_scale = load_u16(in + 208);
}

// Four parts of 2 bits of each of 32 bytes make four runs of 32 elements; twice.
void unpack_two_bits(const uint8_t* q, uint8_t* codes) {
  for (int run = 0; run < 8; ++run)
    for (int i = 0; i < 32; ++i) codes[32 * run + i] = q[run / 4 * 32 + i] >> (2 * (run % 4)) & 3;
}

void decode_q2_k(const uint8_t* in, const BlockOut& out) {
  for (int j = 0; j < 16; ++j) out.scales[j] = in[j] & 15;
  for (int j = 0; j < 16; ++j) out.minimums[j] = in[j] >> 4;
  unpack_two_bits(in + 16, out.codes);
  *out.super_scale = load_u16(in + 80);
  *out.super_minimum = load_u16(in + 82) ^ kSignBit;
}

// Bit `run` of byte i of `h` is the third bit of element i of that run. The low four bits of the
// scales lie as nibbles in bytes 0..7 (the first eight low), the top two in bytes 8..11.
void decode_q3_k(const uint8_t* in, const BlockOut& out) {
  const uint8_t* s = in + 96;
  unpack_two_bits(in + 32, out.codes);
  for (int run = 0; run < 8; ++run)
    for (int i = 0; i < 32; ++i) {
      uint8_t& code = out.codes[32 * run + i];
      code = static_cast<uint8_t>((code | (in[i] >> run & 1) << 2) - 4);
    }
  for (int j = 0; j < 16; ++j) {
    const int low = s[j % 8] >> (j < 8 ? 0 : 4) & 15, high = s[8 + j % 4] >> (2 * (j / 4)) & 3;
    out.scales[j] = static_cast<uint8_t>((low | high << 4) - 32);
  }
  *out.super_scale = load_u16(in + 108);
}

void decode_iq4_nl(const uint8_t* in, const BlockOut& out) {
  put_half(out.scales, load_u16(in));
  unpack_nibbles(in + 2, 0, out.codes);
}

void decode_iq4_xs(const uint8_t* in, const BlockOut& out) {
  *out.super_scale = load_u16(in);
  const uint16_t high = load_u16(in + 2);
  for (int j = 0; j < 8; ++j) {
    const int low = in[4 + j / 2] >> (4 * (j % 2)) & 15;
    out.scales[j] = static_cast<uint8_t>((low | (high >> (2 * j) & 3) << 4) - 32);
    unpack_nibbles(in + 8 + 16 * j, 0, out.codes + 32 * j);
  }
}

// 2^(e - 128) as bf16: the exponent one lower; below 2 it is subnormal. 255 is a number here.
void decode_mxfp4(const uint8_t* in, const BlockOut& out) {
  put_half(out.scales, in[0] < 2 ? 0x0020 << in[0] : (in[0] - 1) << 7);
  unpack_nibbles(in + 1, 0, out.codes);
}

using Table = std::array<float, 16>;
constexpr Table kNonlinear = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr Table kDoubledE2m1 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

struct BlockType {
  Stored stored;
  int code_bits;
  DType codes;         // i8: the offset is already subtracted
  int64_t scale_cols;  // elements per scale
  DType scales;
  bool has_minimum, has_super;
  void (*decode)(const uint8_t* in, const BlockOut& out);
  const Table* table = nullptr;  // of what codes mean, if not themselves
};

constexpr BlockType kTypes[] = {
    {Stored::q4_0, 4, DType::i8, 32, DType::f16, false, false, decode_q4_0},
    {Stored::q4_1, 4, DType::u8, 32, DType::f16, true, false, decode_q4_1},
    {Stored::q5_0, 5, DType::i8, 32, DType::f16, false, false, decode_q5_0},
    {Stored::q5_1, 5, DType::u8, 32, DType::f16, true, false, decode_q5_1},
    {Stored::q8_0, 8, DType::i8, 32, DType::f16, false, false, decode_q8_0},
    {Stored::q4_k, 4, DType::u8, 32, DType::u8, true, true, decode_q4_k},
    {Stored::q5_k, 5, DType::u8, 32, DType::u8, true, true, decode_q5_k},
    {Stored::q6_k, 6, DType::i8, 16, DType::i8, false, true, decode_q6_k},
    {Stored::q2_k, 2, DType::u8, 16, DType::u8, true, true, decode_q2_k},
    {Stored::q3_k, 3, DType::i8, 16, DType::i8, false, true, decode_q3_k},
    {Stored::iq4_nl, 4, DType::u8, 32, DType::f16, false, false, decode_iq4_nl, &kNonlinear},
    {Stored::iq4_xs, 4, DType::u8, 32, DType::i8, false, true, decode_iq4_xs, &kNonlinear},
    {Stored::mxfp4, 4, DType::u8, 32, DType::bf16, false, false, decode_mxfp4, &kDoubledE2m1},
};

const BlockType* find_type(Stored stored) {
  for (const BlockType& type : kTypes)
    if (type.stored == stored) return &type;
  return nullptr;
}

QuantMatrix allocate(const BlockType& type, int64_t rows, int64_t cols, Device device) {
  const Shape grid{rows, cols / type.scale_cols};
  QuantMatrix w;
  w.codes = Tensor::empty({rows, cols}, type.codes, device);
  w.coding = type.table == nullptr ? Coding::integer : Coding::table;
  if (type.table != nullptr) w.table.assign(type.table->begin(), type.table->end());
  w.code_bits = type.code_bits;
  w.block_cols = type.scale_cols;
  w.scales = Tensor::empty(grid, type.scales, device);
  w.offset = type.has_minimum ? Offset::minimum : Offset::none;
  if (type.has_minimum) w.minimums = Tensor::empty(grid, type.scales, device);
  if (!type.has_super) return w;
  w.super_cols = block_of(type.stored).elements;
  const Shape super_grid{rows, cols / w.super_cols};
  w.super_scales = Tensor::empty(super_grid, DType::f16, device);
  if (type.has_minimum) w.super_minimums = Tensor::empty(super_grid, DType::f16, device);
  return w;
}

// The parts of block `index` (counted over rows of the part being read).
BlockOut parts_of(const BlockType& type, const QuantMatrix& w, int64_t index) {
  const int64_t elements = block_of(type.stored).elements;
  const int64_t grid_bytes = elements / type.scale_cols * (bits_of(type.scales) / 8);
  BlockOut out{};
  out.codes = w.codes.data<uint8_t>() + index * elements;
  out.scales = w.scales.data<uint8_t>() + index * grid_bytes;
  if (type.has_minimum) out.minimums = w.minimums.data<uint8_t>() + index * grid_bytes;
  if (type.has_super) out.super_scale = w.super_scales.data<uint16_t>() + index;
  if (type.has_super && type.has_minimum)
    out.super_minimum = w.super_minimums.data<uint16_t>() + index;
  return out;
}

void decode_rows(const BlockType& type,
                 const TensorInfo& info,
                 const std::byte* bytes,
                 Range rows,
                 Range cols,
                 QuantMatrix& w) {
  const Block block = block_of(type.stored);
  const int64_t row_blocks = matrix_shape(info)[1] / block.elements;
  const int64_t first = cols.begin / block.elements, count = cols.size() / block.elements;
  for (int64_t r = 0; r < rows.size(); ++r) {
    const int64_t row = stored_row(info, rows.begin + r);
    const auto* in =
        reinterpret_cast<const uint8_t*>(bytes) + (row * row_blocks + first) * block.bytes;
    for (int64_t b = 0; b < count; ++b)
      type.decode(in + b * block.bytes, parts_of(type, w, r * count + b));
  }
}

class GgufFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "gguf"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    const TensorInfo* info = find_matrix(checkpoint, prefix);
    return info != nullptr && find_type(info->stored) != nullptr;
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return matrix_shape(weight_under(checkpoint, prefix));
  }

  Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return {1, block_of(weight_under(checkpoint, prefix).stored).elements};
  }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    const Granule granule = this->granule(checkpoint, prefix);
    const TensorInfo& info = weight_to_read(checkpoint, prefix, rows, cols, granule);
    const BlockType* type = find_type(info.stored);
    QUERN_CHECK(type != nullptr, "{} is stored as {}", info.name, name_of(info.stored));
    QuantMatrix w = allocate(*type, rows.size(), cols.size(), device);
    if (!device.is_meta())
      decode_rows(*type, info, checkpoint.bytes(info.name).data(), rows, cols, w);
    return w;
  }
};

}  // namespace

const WeightFormat& gguf_format() {
  static const GgufFormat format;
  return format;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "engine/step_plan.h"

#include <bit>

#include "base/error.h"
#include "engine/plan_bytes.h"

namespace quern {
namespace {

static_assert(std::endian::native == std::endian::little,
              "plans travel in the machine's byte order");

constexpr uint32_t kMagic = 0x4e4c5051;  // "QPLN"
constexpr uint32_t kVersion = 2;
constexpr int kMaxAxes = 8, kMaxBlockSize = 4096;
constexpr size_t kTaskBytes = 97, kUseBytes = 28;  // the least that a task and a use take

void put_hash(PlanWriter& out, const Hash128& hash) {
  out.put(hash.low);
  out.put(hash.high);
}

Hash128 get_hash(PlanReader& in) {
  const auto low = in.get<uint64_t>();
  return {low, in.get<uint64_t>()};
}

void put_media(PlanWriter& out, const MediaInput& m) {
  out.put(m.kind);
  put_hash(out, m.hash);
  out.put_array(m.values);
  for (const int64_t v : {m.rows, m.row_size, m.grid_t, m.grid_h, m.grid_w, m.tokens}) out.put(v);
  out.put(m.seconds_per_grid);
}

std::shared_ptr<const MediaInput> get_media(PlanReader& in) {
  const auto m = std::make_shared<MediaInput>();
  const auto kind = in.get<uint8_t>();
  if (kind > static_cast<uint8_t>(MediaKind::audio))
    fail(ErrorCode::data_loss, "step plan: medium of kind {}", kind);
  m->kind = static_cast<MediaKind>(kind);
  m->hash = get_hash(in);
  m->values = in.get_array<float>();
  for (int64_t* v : {&m->rows, &m->row_size, &m->grid_t, &m->grid_h, &m->grid_w, &m->tokens}) {
    *v = in.get<int64_t>();
    if (*v < 0 || *v > (int64_t{1} << 31))
      fail(ErrorCode::data_loss, "step plan: a medium's size {} is out of bounds", *v);
  }
  m->seconds_per_grid = in.get<double>();
  if (m->rows * m->row_size != static_cast<int64_t>(m->values.size()))
    fail(ErrorCode::data_loss,
         "step plan: a medium of [{}, {}] has {} values",
         m->rows,
         m->row_size,
         m->values.size());
  return m;
}

void put_batch(PlanWriter& out, const Batch& b) {
  out.put(static_cast<int32_t>(b.axes));
  out.put(b.block_size);
  out.put(b.blocks_per_row);
  for (const auto* list : {&b.tokens,
                           &b.positions,
                           &b.offsets,
                           &b.context_lengths,
                           &b.block_tables,
                           &b.slots,
                           &b.sample_rows})
    out.put_array(*list);
}

Batch get_batch(PlanReader& in) {
  Batch b;
  b.axes = in.get<int32_t>();
  b.block_size = in.get<int32_t>();
  b.blocks_per_row = in.get<int32_t>();
  for (auto* list : {&b.tokens,
                     &b.positions,
                     &b.offsets,
                     &b.context_lengths,
                     &b.block_tables,
                     &b.slots,
                     &b.sample_rows})
    *list = in.get_array<int32_t>();
  return b;
}

void check(bool holds, std::string_view what) {
  if (!holds) fail(ErrorCode::data_loss, "step plan: {} out of bounds", what);
}

void check_rows(const Batch& b) {
  const auto sequences = static_cast<size_t>(b.sequence_count());
  check(b.offsets.size() == sequences + 1 && b.offsets.front() == 0 &&
            b.offsets.back() == b.token_count(),
        "offsets");
  for (size_t s = 0; s < sequences; ++s) {
    const int64_t rows = int64_t{b.offsets[s + 1]} - b.offsets[s], length = b.context_lengths[s];
    check(rows >= 1, "offsets");
    check(length >= rows && length <= int64_t{b.blocks_per_row} * b.block_size, "context_lengths");
    const int64_t blocks = (length + b.block_size - 1) / b.block_size;
    for (int64_t i = 0; i < blocks; ++i)
      check(b.block_tables[s * static_cast<size_t>(b.blocks_per_row) + static_cast<size_t>(i)] >= 0,
            "block_tables");
  }
}

void check_batch(const Batch& b) {
  const auto tokens = b.tokens.size(), sequences = static_cast<size_t>(b.sequence_count());
  check(b.axes >= 1 && b.axes <= kMaxAxes, "axes");
  check(b.block_size >= 1 && b.block_size <= kMaxBlockSize, "block_size");
  check(b.blocks_per_row >= 0, "blocks_per_row");
  check(b.positions.size() == tokens * static_cast<size_t>(b.axes), "positions");
  check(b.block_tables.size() == sequences * static_cast<size_t>(b.blocks_per_row), "block_tables");
  check(b.slots.size() == tokens, "slots");
  check_rows(b);
  for (const int32_t slot : b.slots) check(slot >= -1, "slots");
  for (const int32_t row : b.sample_rows)
    check(row >= 0 && static_cast<size_t>(row) < tokens, "sample_rows");
}

void check_uses(const StepPlan& p) {
  for (const MediaUse& u : p.media)
    check(u.count >= 1 && u.source_begin >= 0 && u.first_row >= 0 &&
              int64_t{u.first_row} + u.count <= p.batch.token_count(),
          "media");
}

}  // namespace

std::string StepPlan::serialize() const {
  PlanWriter out;
  out.put(kMagic);
  out.put(kVersion);
  out.put(epoch);
  out.put(step);
  put_batch(out, batch);
  out.put(static_cast<uint64_t>(encode.size()));
  for (const EncodeTask& t : encode) {
    put_hash(out, t.hash);
    put_media(out, *t.media);
  }
  out.put(static_cast<uint64_t>(media.size()));
  for (const MediaUse& u : media) {
    put_hash(out, u.hash);
    for (const int32_t v : {u.source_begin, u.first_row, u.count}) out.put(v);
  }
  out.put(static_cast<uint64_t>(release.size()));
  for (const Hash128& hash : release) put_hash(out, hash);
  return out.take();
}

StepPlan StepPlan::parse(std::string_view bytes) {
  PlanReader in(bytes, "step plan");
  if (in.get<uint32_t>() != kMagic) fail(ErrorCode::data_loss, "step plan: not a plan");
  if (const auto version = in.get<uint32_t>(); version != kVersion)
    fail(ErrorCode::data_loss,
         "step plan: version {}, expected {}: front and worker are of different builds",
         version,
         kVersion);
  StepPlan p;
  p.epoch = in.get<uint64_t>();
  p.step = in.get<uint64_t>();
  p.batch = get_batch(in);
  p.encode.resize(in.get_count(kTaskBytes));
  for (EncodeTask& t : p.encode) {
    t.hash = get_hash(in);
    t.media = get_media(in);
  }
  p.media.resize(in.get_count(kUseBytes));
  for (MediaUse& u : p.media) {
    u.hash = get_hash(in);
    for (int32_t* v : {&u.source_begin, &u.first_row, &u.count}) *v = in.get<int32_t>();
  }
  p.release.resize(in.get_count(sizeof(Hash128)));
  for (Hash128& hash : p.release) hash = get_hash(in);
  in.expect_end();
  check_batch(p.batch);
  check_uses(p);
  return p;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "ops/kv_rows.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

// The mode and the model decide, never the shape of a step: a row must meet the same kernels in
// every one.
const AttentionKernels& kernels_for(const Ctx& ctx, bool is_wide = false) {
  const bool rounds = ctx.activation == Activation::bf16 || ctx.activation == Activation::int8;
  if (rounds && ctx.isa >= Isa::amx) return is_wide ? kWideAttentionAmx : kAttentionAmx;
  if (rounds && ctx.isa >= Isa::avx512_bf16)
    return is_wide ? kWideAttentionAvx512Bf16 : kAttentionAvx512Bf16;
  if (ctx.isa >= Isa::avx512) return is_wide ? kWideAttentionAvx512 : kAttentionAvx512;
  return is_wide ? kWideAttentionAvx2 : kAttentionAvx2;
}

alignas(64) constexpr std::byte kZeros[kWideSize * 4]{};

// Where the keys of one sequence and KV head lie.
class KeySource {
 public:
  // Rows [first, …) of k, v [P, G, E].
  static KeySource rows(const Tensor& k, const Tensor& v, int64_t first, int64_t head) {
    KeySource s(k, v, k.dim(2));
    s.k_first_ = first * k.stride(0) + head * s.size_;
    s.v_first_ = first * v.stride(0) + head * s.size_;
    s.k_step_ = k.stride(0);
    s.v_step_ = v.stride(0);
    return s;
  }
  // Blocks of a cache from position `first` on; `widening` reads its rows where they are codes. A
  // value is the last `value_size` elements of its row.
  static KeySource blocks(const PagedKv& kv,
                          const int32_t* table,
                          int64_t first,
                          int64_t head,
                          int64_t value_size,
                          const RowKernels& widening) {
    KeySource s(kv.k, kv.v, kv.k.dim(3));
    s.value_size_ = value_size;
    s.codes_ = is_coded(kv) ? &kv : nullptr;
    s.widening_ = &widening;
    s.block_size_ = kv.k.dim(2);
    s.block_step_ = kv.k.dim(1) * s.block_size_ * s.size_;
    s.k_first_ = head * s.block_size_ * s.size_;
    s.v_first_ = s.k_first_ + s.size_ - value_size;
    s.k_step_ = s.v_step_ = s.size_;
    s.table_ = table;
    s.first_ = first;
    return s;
  }

  // Points at keys and values [begin, begin + count).
  void find(int64_t begin, int count, KeyRows& rows) const {
    rows.count = count;
    rows.size = static_cast<int>(size_);
    rows.value_size = static_cast<int>(value_size_);
    rows.dtype = k_.dtype();
    if (table_ == nullptr) {
      point(k_first_ + begin * k_step_, v_first_ + begin * v_step_, 0, count, rows);
    } else {
      int64_t block = (first_ + begin) / block_size_, inside = (first_ + begin) % block_size_;
      for (int at = 0; at < count; inside = 0, ++block) {
        const int64_t element = table_[block] * block_step_ + inside * size_;
        const auto here = static_cast<int>(std::min<int64_t>(count - at, block_size_ - inside));
        point(element + k_first_, element + v_first_, at, at + here, rows);
        at += here;
      }
    }
    std::fill(rows.key + count, rows.key + kSplit, kZeros);
    std::fill(rows.value + count, rows.value + kSplit, kZeros);
  }

  // Rows that were found, as the kernels read them: codes are written to `ws` as float32.
  void widen(KeyRows& rows, Workspace& ws) const {
    if (codes_ == nullptr) return;
    const bool is_shared = k_.raw() == v_.raw();  // keys hold the values
    for (int i = 0; i < rows.count; ++i) {
      const int64_t row = (rows.key[i] - k_.raw()) / size_;
      float* key = ws.widened + i * size_;
      float* value = is_shared ? key + size_ - value_size_ : key + kSplit * size_;
      load_kv_row(*widening_, k_, codes_->k_scale, row, key);
      if (!is_shared) load_kv_row(*widening_, v_, codes_->v_scale, row, value);
      rows.key[i] = reinterpret_cast<const std::byte*>(key);
      rows.value[i] = reinterpret_cast<const std::byte*>(value);
    }
    rows.dtype = DType::f32;
  }

 private:
  KeySource(const Tensor& k, const Tensor& v, int64_t size)
      : k_(k), v_(v), size_(size), value_size_(size) {}

  // Rows [at, end) lie in even steps from these elements on.
  void point(int64_t k, int64_t v, int at, int end, KeyRows& rows) const {
    const int64_t bytes = bits_of(k_.dtype()) / 8;
    const std::byte *key = k_.raw() + k * bytes, *value = v_.raw() + v * bytes;
    for (; at < end; ++at, key += k_step_ * bytes, value += v_step_ * bytes) {
      rows.key[at] = key;
      rows.value[at] = value;
    }
  }

  const Tensor &k_, &v_;
  int64_t size_, value_size_, k_first_ = 0, v_first_ = 0, k_step_ = 0, v_step_ = 0;
  int64_t block_size_ = 0, block_step_ = 0, first_ = 0;
  const int32_t* table_ = nullptr;
  const PagedKv* codes_ = nullptr;  // null: rows that the kernels read as they lie
  const RowKernels* widening_ = nullptr;
};

// The queries of one task: `count` step rows from `first` on, `group` heads each. Row r of the task
// is head r % group of step row r / group.
struct Queries {
  const Tensor& q;
  int64_t first, count;
  int64_t head, group;  // the first query head, and how many share the KV head
  int64_t values;       // elements of a value

  int rows() const { return static_cast<int>(count * group); }
  int size() const { return static_cast<int>(q.dim(2)); }
  int value_size() const { return static_cast<int>(values); }
  const float* row(int r) const {
    return q.data<float>() + (first + r / group) * q.stride(0) + (head + r % group) * q.dim(2);
  }
  float* row_of(const Tensor& out, int r) const {
    return out.data<float>() + ((first + r / group) * q.dim(1) + head + r % group) * values;
  }
};

// How many keys a step row of the task sees: one more for each later row if causal, or what a list
// says.
struct Visible {
  int64_t seen;
  bool is_causal;
  const int32_t* list = nullptr;  // by step row

  int64_t of(int64_t step_row) const {
    if (list != nullptr) return list[step_row];
    return is_causal ? seen + step_row : seen;
  }
  // The most that one of `count` rows sees.
  int64_t most(int64_t count) const {
    return list != nullptr ? *std::max_element(list, list + count) : of(count - 1);
  }
};

int64_t splits_of(int64_t keys) {
  return (keys + kSplit - 1) / kSplit;
}

void open_records(float* records, int64_t count, int64_t size) {
  const int64_t step = record_size(size);
  std::fill_n(records, count * step, 0.0f);
  for (int64_t i = 0; i < count; ++i) records[i * step] = kNoScore;
}

// Queries and the keys of their KV head. Who walks along the splits finds each split's keys while
// the one before is under way.
struct Walk {
  const AttentionKernels& kernels;
  Queries queries;
  KeySource source;
  Visible visible;

  int64_t keys() const { return visible.most(queries.count); }
  void load(float scale, Workspace& ws) const {
    for (int r = 0; r < queries.rows(); ++r)
      kernels.load_query(queries.row(r), scale, queries.size(), r, ws);
  }
  void find(int64_t split, KeyRows& rows) const {
    const int64_t begin = split * kSplit;
    source.find(begin, static_cast<int>(std::min<int64_t>(kSplit, keys() - begin)), rows);
  }
  void attend(
      int64_t split, const KeyRows& now, const KeyRows* next, float* totals, Workspace& ws) const {
    const auto group = static_cast<int>(queries.group);
    for (int64_t i = 0; i < queries.count; ++i) {
      const int64_t limit = std::clamp<int64_t>(visible.of(i) - split * kSplit, 0, now.count);
      std::fill_n(ws.limit + i * group, group, static_cast<int32_t>(limit));
    }
    kernels.attend(now, next, queries.rows(), totals, ws);
  }
  // All splits and the result.
  void run(float scale, const Tensor& out, Workspace& ws) const {
    alignas(64) float totals[kRows * kMostRecord];
    open_records(totals, queries.rows(), queries.value_size());
    load(scale, ws);
    KeyRows rows;
    for (int64_t split = 0; split < splits_of(keys()); ++split) {
      find(split, rows);
      source.widen(rows, ws);
      attend(split, rows, nullptr, totals, ws);
    }
    const int64_t step = record_size(queries.value_size());
    for (int r = 0; r < queries.rows(); ++r)
      kernels.finish(totals + r * step, queries.value_size(), queries.row_of(out, r));
  }
};

// Many query rows of one KV head over all their keys.
struct Tile {
  int64_t sequence, head, first, count;  // step rows
};

// Few query rows of one sequence, over some of its pieces. A piece is one split of one KV head;
// heads run faster, so that a block of the cache is read as it lies. Leaves the record of row r of
// piece i at records + i * rows + r.
struct Strip {
  int64_t sequence;
  Range pieces;
  int64_t records;
};

struct Plan {
  std::vector<Tile> tiles;
  std::vector<Strip> strips, merges;  // one merge to a sequence: all of its pieces
  int64_t records = 0;
};

// Enough that a thread which is held up does not hold up the others for long.
constexpr int64_t kTasksPerThread = 8;

// How many step rows make a tile, of `rows` query rows in all: whichever, the bits are the same.
int64_t tile_rows(int64_t rows, int64_t group, int threads, int64_t most = kRows) {
  const int64_t share = std::clamp<int64_t>(rows / (kTasksPerThread * threads), kStripRows, most);
  return std::max<int64_t>(1, share / group);
}

// Into tiles of up to `most` step rows, about as many each.
void cut_tiles(Tile whole, int64_t most, std::vector<Tile>& tiles) {
  const int64_t parts = (whole.count + most - 1) / most;
  const int64_t tile = parts == 0 ? 0 : (whole.count + parts - 1) / parts;
  for (int64_t part = parts - 1; part >= 0; --part) {  // the longest first
    const int64_t row = part * tile;
    if (row < whole.count)
      tiles.push_back(
          {whole.sequence, whole.head, whole.first + row, std::min(tile, whole.count - row)});
  }
}

void cut_strips(const Strip& whole, int64_t rows, int64_t chunk, std::vector<Strip>& strips) {
  for (int64_t piece = 0; piece < whole.pieces.end; piece += chunk)
    strips.push_back({whole.sequence,
                      {piece, std::min(whole.pieces.end, piece + chunk)},
                      whole.records + piece * rows});
}

Plan make_plan(
    const PagedBatch& batch, int64_t heads, int64_t group, int threads, int64_t most_rows) {
  Plan plan;
  int64_t pieces = 0;
  std::vector<Tile> many;
  for (size_t s = 0; s < batch.context_lengths.size(); ++s) {
    const int64_t first = batch.offsets[s], count = batch.offsets[s + 1] - first;
    const auto sequence = static_cast<int64_t>(s);
    if (count * group > kStripRows) {
      for (int64_t head = 0; head < heads; ++head) many.push_back({sequence, head, first, count});
    } else if (count > 0) {
      plan.merges.push_back({sequence,
                             {0, splits_of(batch.context_lengths[s] - batch.first_key) * heads},
                             plan.records});
      pieces += plan.merges.back().pieces.size();
      plan.records += plan.merges.back().pieces.size() * count * group;
    }
  }
  int64_t rows = 0;
  for (const Tile& whole : many) rows += whole.count * group;
  for (const Tile& whole : many)
    cut_tiles(whole, tile_rows(rows, group, threads, most_rows), plan.tiles);
  const int64_t share = std::max<int64_t>(1, pieces / (kTasksPerThread * threads));
  const int64_t chunk = share < heads ? share : share / heads * heads;
  for (const Strip& whole : plan.merges) {
    const auto s = static_cast<size_t>(whole.sequence);
    cut_strips(whole, (batch.offsets[s + 1] - batch.offsets[s]) * group, chunk, plan.strips);
  }
  return plan;
}

// A paged attention in flight.
struct PagedRun {
  const AttentionKernels& kernels;
  const RowKernels& widening;
  const Tensor& q;
  const PagedKv& kv;
  const PagedAttention& in;
  const Tensor& out;
  float* records;
  int64_t groups;  // of query heads; those of one share a KV head

  int64_t heads() const { return groups; }
  float* record(int64_t index) const { return records + index * record_size(in.value_size); }

  Walk walk(const Tile& tile) const {
    const int64_t group = q.dim(1) / heads();
    const int32_t* table = in.batch.block_tables.data() + tile.sequence * in.batch.blocks_per_row;
    const auto s = static_cast<size_t>(tile.sequence);
    const int64_t first_key = in.batch.first_key, head = tile.head * kv.k.dim(1) / heads();
    // Rows behind the tile's first.
    const int64_t later = in.batch.is_causal ? in.batch.offsets[s + 1] - tile.first - 1 : 0;
    return {kernels,
            {q, tile.first, tile.count, tile.head * group, group, in.value_size},
            KeySource::blocks(kv, table, first_key, head, in.value_size, widening),
            {in.batch.context_lengths[s] - first_key - later, in.batch.is_causal}};
  }
  // All rows of a sequence.
  Walk walk(int64_t sequence, int64_t head) const {
    const auto s = static_cast<size_t>(sequence);
    const int64_t first = in.batch.offsets[s];
    return walk({sequence, head, first, in.batch.offsets[s + 1] - first});
  }

  void run(const Tile& tile) const {
    Workspace ws;
    walk(tile).run(in.scale, out, ws);
  }

  void run(const Strip& strip) const {
    Workspace ws;
    KeyRows rows[2];
    const auto find = [&](int64_t piece) {
      walk(strip.sequence, piece % heads()).find(piece / heads(), rows[piece % 2]);
      return &rows[piece % 2];
    };
    find(strip.pieces.begin);
    float* totals = record(strip.records);
    for (int64_t piece = strip.pieces.begin; piece < strip.pieces.end; ++piece) {
      const Walk here = walk(strip.sequence, piece % heads());
      const KeyRows* next = piece + 1 < strip.pieces.end ? find(piece + 1) : nullptr;
      here.source.widen(rows[piece % 2], ws);
      if (is_coded(kv)) next = nullptr;  // the kernels ask early for the rows that they read
      here.load(in.scale, ws);
      open_records(totals, here.queries.rows(), in.value_size);
      here.attend(piece / heads(), rows[piece % 2], next, totals, ws);
      totals += here.queries.rows() * record_size(in.value_size);
    }
  }

  // Row r of a sequence and KV head.
  void merge(const Strip& whole, int64_t head, int r) const {
    const Queries queries = walk(whole.sequence, head).queries;
    const auto at = [&](int64_t piece) {
      return record(whole.records + piece * queries.rows() + r);
    };
    for (int64_t piece = head + heads(); piece < whole.pieces.end; piece += heads())
      kernels.merge(at(piece), queries.value_size(), at(head));
    kernels.finish(at(head), queries.value_size(), queries.row_of(out, r));
  }
};

template <typename Run>
void for_each(ThreadPool& pool, size_t count, const Run& run) {
  pool.parallel_for(static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) run(static_cast<size_t>(i));
  });
}

// Query heads in `groups` groups, each of which reads one KV head.
void attend_paged(Ctx& ctx, PagedRun run, int64_t most_rows) {
  const int64_t groups = run.groups, group = run.q.dim(1) / groups;
  const PagedAttention& in = run.in;
  const Plan plan =
      make_plan(in.batch, groups, group, ctx.device.is_meta() ? 1 : ctx.pool->size(), most_rows);
  const Tensor records = ctx.empty({plan.records, record_size(in.value_size)});
  if (ctx.device.is_meta()) return;
  run.records = records.data<float>();
  const size_t tiles = plan.tiles.size();
  for_each(*ctx.pool, tiles + plan.strips.size(), [&](size_t i) {
    i < tiles ? run.run(plan.tiles[i]) : run.run(plan.strips[i - tiles]);
  });
  for_each(*ctx.pool, plan.merges.size() * static_cast<size_t>(groups), [&](size_t i) {
    const Strip& whole = plan.merges[i / static_cast<size_t>(groups)];
    const auto s = static_cast<size_t>(whole.sequence);
    const auto rows = static_cast<int>((in.batch.offsets[s + 1] - in.batch.offsets[s]) * group);
    for (int r = 0; r < rows; ++r) run.merge(whole, static_cast<int64_t>(i) % groups, r);
  });
}

}  // namespace

void paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out) {
  attend_paged(
      ctx, {kernels_for(ctx), row_kernels(ctx.isa), q, kv, in, out, nullptr, kv.k.dim(1)}, kRows);
}

int64_t latent_groups(int64_t heads, int64_t height) {
  int64_t groups = (heads + height - 1) / height;
  while (groups > 1 && heads % groups != 0) --groups;
  return std::max<int64_t>(groups, 1);
}

namespace {

// Query heads that share a task: as many as make a strip, for what is read and packed of a row then
// serves them all, unless threads would be idle.
int64_t latent_height(const PagedBatch& batch, int threads) {
  int64_t rows = 1, splits = 0;
  for (size_t s = 0; s < batch.context_lengths.size(); ++s) {
    rows = std::max<int64_t>(rows, batch.offsets[s + 1] - batch.offsets[s]);
    splits += splits_of(batch.context_lengths[s] - batch.first_key);
  }
  return splits < 2 * threads ? kWideHeads : std::max(kWideHeads, kStripRows / rows);
}

}  // namespace

void latent_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out) {
  const int threads = ctx.device.is_meta() ? 1 : ctx.pool->size();
  attend_paged(ctx,
               {kernels_for(ctx, true),
                row_kernels(ctx.isa),
                q,
                kv,
                in,
                out,
                nullptr,
                latent_groups(q.dim(1), latent_height(in.batch, threads))},
               kWideRows);
}

void segment_attention(Ctx& ctx, const SegmentInputs& in, const Tensor& out) {
  const int64_t heads = in.k.dim(1), group = in.q.dim(1) / heads;
  const AttentionKernels& kernels = kernels_for(ctx);
  const int64_t tile = tile_rows(in.q.dim(0) * in.q.dim(1), group, ctx.pool->size());
  const auto segments = in.sight.segments, visible = in.sight.visible;
  std::vector<Tile> tiles;
  for (size_t s = 0; s + 1 < segments.size(); ++s)
    for (int64_t head = 0; head < heads; ++head)
      cut_tiles(
          {static_cast<int64_t>(s), head, segments[s], segments[s + 1] - segments[s]}, tile, tiles);
  for_each(*ctx.pool, tiles.size(), [&](size_t i) {
    Workspace ws;
    const Tile& t = tiles[i];
    const int64_t first = segments[static_cast<size_t>(t.sequence)];
    const int64_t keys = segments[static_cast<size_t>(t.sequence) + 1] - first;
    const Walk walk{kernels,
                    {in.q, t.first, t.count, t.head * group, group, in.q.dim(2)},
                    KeySource::rows(in.k, in.v, first, t.head),
                    {keys, false, visible.empty() ? nullptr : visible.data() + t.first}};
    walk.run(in.scale, out, ws);
  });
}

}  // namespace quern::ops::cpu

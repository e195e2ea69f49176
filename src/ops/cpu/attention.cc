// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

const AttentionKernels& kernels_for(Isa isa) {
  return isa >= Isa::avx512 ? kAttentionAvx512 : kAttentionAvx2;
}

// Where the keys of one sequence and KV head lie.
class KeySource {
 public:
  // Rows [first, …) of k, v [P, G, E].
  static KeySource rows(const Tensor& k, const Tensor& v, int64_t first, int64_t head) {
    KeySource s(k, v, k.dim(2));
    s.first_ = first;
    s.head_ = head;
    return s;
  }
  // Blocks of a cache.
  static KeySource blocks(const PagedKv& kv, const int32_t* table, int64_t head) {
    KeySource s(kv.k, kv.v, kv.k.dim(3));
    s.table_ = table;
    s.head_ = head;
    return s;
  }

  // Points at keys and values [begin, begin + count).
  void find(int64_t begin, int count, KeyRows& keys, KeyRows& values) const {
    keys.count = values.count = count;
    keys.size = values.size = static_cast<int>(size_);
    keys.is_bf16 = values.is_bf16 = k_.dtype() == DType::bf16;
    const int64_t element = bits_of(k_.dtype()) / 8;
    const std::byte *k = k_.raw(), *v = v_.raw();
    for (int i = 0; i < count; ++i) {
      keys.row[i] = k + at(begin + i, k_) * element;
      values.row[i] = v + at(begin + i, v_) * element;
    }
  }

 private:
  KeySource(const Tensor& k, const Tensor& v, int64_t size) : k_(k), v_(v), size_(size) {}

  int64_t at(int64_t position, const Tensor& t) const {
    if (table_ == nullptr) return (first_ + position) * t.stride(0) + head_ * size_;
    const int64_t block_size = t.dim(2);
    return ((table_[position / block_size] * t.dim(1) + head_) * block_size +
            position % block_size) *
           size_;
  }

  const Tensor &k_, &v_;
  int64_t size_;
  int64_t first_ = 0, head_ = 0;
  const int32_t* table_ = nullptr;
};

// The queries of one task: `count` step rows from `first` on, `group` heads each. Row r of the task
// is head r % group of step row r / group.
struct Queries {
  const Tensor& q;
  int64_t first, count;
  int64_t head, group;  // the first query head, and how many share the KV head

  int rows() const { return static_cast<int>(count * group); }
  const float* row(int r) const {
    return q.data<float>() + (first + r / group) * q.stride(0) + (head + r % group) * q.dim(2);
  }
  float* row_of(const Tensor& out, int r) const {
    return out.data<float>() + ((first + r / group) * q.dim(1) + head + r % group) * q.dim(2);
  }
};

void load_queries(const AttentionKernels& kernels,
                  const Queries& queries,
                  float scale,
                  Workspace& ws) {
  for (int r = 0; r < queries.rows(); ++r)
    kernels.load_query(queries.row(r), scale, static_cast<int>(queries.q.dim(2)), r, ws);
}

void open_split(Running& split, int rows, int size) {
  for (int panel = 0; panel * 32 < size; ++panel)
    std::fill_n(split.sums + panel * kRows * 32, rows * 32, 0.0f);
  std::fill_n(split.largest, kRows, kNoScore);
  std::fill_n(split.weight, kRows * 16, 0.0f);
}

// The tiles of one split. Row r sees `seen` + r / group keys (one more for each later step row) if
// causal, else `seen`.
struct Visible {
  int64_t seen;
  bool is_causal;
  int64_t of(int64_t step_row) const { return is_causal ? seen + step_row : seen; }
};

void run_split(const AttentionKernels& kernels,
               const Queries& queries,
               const KeySource& source,
               Visible visible,
               Range keys,
               Workspace& ws) {
  const int rows = queries.rows();
  const auto size = static_cast<int>(queries.q.dim(2));
  KeyRows k, v;
  open_split(ws.split, rows, size);
  for (int64_t begin = keys.begin; begin < keys.end; begin += kKeys) {
    const auto count = static_cast<int>(std::min<int64_t>(kKeys, keys.end - begin));
    source.find(begin, count, k, v);
    kernels.pack_keys(k, ws);
    kernels.pack_values(v, ws);
    for (int r = 0; r < rows; ++r)
      ws.limit[r] = static_cast<int32_t>(
          std::clamp<int64_t>(visible.of(r / queries.group) - begin, 0, count));
    kernels.attend(ws, rows, count, size);
  }
}

void open_record(float* record, int64_t size) {
  std::fill_n(record, record_size(size), 0.0f);
  record[0] = kNoScore;
}

// All splits of [0, keys), one after the other, and the result.
void run_all(const AttentionKernels& kernels,
             const Queries& queries,
             const KeySource& source,
             Visible visible,
             int64_t split,
             const Tensor& out,
             Workspace& ws) {
  const auto size = static_cast<int>(queries.q.dim(2));
  const int64_t step = record_size(size), keys = visible.of(queries.count - 1);
  alignas(64) float totals[kRows * (kRecordHead + kMostSize)], record[kRecordHead + kMostSize];
  for (int r = 0; r < queries.rows(); ++r) open_record(totals + r * step, size);
  for (int64_t begin = 0; begin < keys; begin += split) {
    run_split(kernels, queries, source, visible, {begin, std::min(keys, begin + split)}, ws);
    for (int r = 0; r < queries.rows(); ++r) {
      kernels.close(ws.split, r, size, record);
      kernels.merge(record, size, totals + r * step);
    }
  }
  for (int r = 0; r < queries.rows(); ++r)
    kernels.finish(totals + r * step, size, queries.row_of(out, r));
}

// One unit of parallel work: a tile of queries over all their keys, or (record >= 0) over one split
// only, whose records then wait for a Merge.
struct Task {
  int64_t sequence, head;  // KV head
  int64_t first, count;    // step rows
  int64_t split = 0, record = -1;
};

// A tile whose splits were shared out: its records lie split by split, row by row, from `record`
// on.
struct Merge {
  Task tile;
  int64_t splits;
};

struct Plan {
  std::vector<Task> tasks;
  std::vector<Merge> merges;
  int64_t records = 0;
};

// Sequences of few rows and many keys (decoding) are shared out by splits, all others by tiles of
// rows. Depends on shapes alone; that the two ways give the same bits is what kSplit is for.
Plan make_plan(const PagedBatch& batch, int64_t heads, int64_t group) {
  Plan plan;
  const int64_t tile = std::max<int64_t>(1, kRows / group);
  for (size_t s = 0; s < batch.context_lengths.size(); ++s) {
    const int64_t first = batch.offsets[s], count = batch.offsets[s + 1] - first;
    const int64_t splits = (batch.context_lengths[s] + kSplit - 1) / kSplit;
    if (count == 0) continue;
    for (int64_t head = 0; head < heads; ++head) {
      const Task whole{static_cast<int64_t>(s), head, first, count};
      if (count > tile || splits == 1) {
        for (int64_t row = (count - 1) / tile * tile; row >= 0; row -= tile)  // the longest first
          plan.tasks.push_back({whole.sequence, head, first + row, std::min(tile, count - row)});
        continue;
      }
      plan.merges.push_back({whole, splits});
      plan.merges.back().tile.record = plan.records;
      for (int64_t split = 0; split < splits; ++split, plan.records += count * group)
        plan.tasks.push_back({whole.sequence, head, first, count, split, plan.records});
    }
  }
  return plan;
}

// A paged attention in flight.
struct PagedRun {
  const AttentionKernels& kernels;
  const Tensor& q;
  const PagedKv& kv;
  const PagedAttention& in;
  const Tensor& out;
  float* records;

  Queries queries(const Task& task) const {
    const int64_t group = q.dim(1) / kv.k.dim(1);
    return {q, task.first, task.count, task.head * group, group};
  }
  float* record(int64_t index) const { return records + index * record_size(q.dim(2)); }

  void run(const Task& task) const {
    Workspace ws;
    const Queries rows = queries(task);
    const auto s = static_cast<size_t>(task.sequence);
    const int32_t* table = in.batch.block_tables.data() + task.sequence * in.batch.blocks_per_row;
    const KeySource source = KeySource::blocks(kv, table, task.head);
    const int64_t context = in.batch.context_lengths[s], last = in.batch.offsets[s + 1];
    const Visible visible{context - (last - task.first) + 1, true};
    load_queries(kernels, rows, in.scale, ws);
    if (task.record < 0) return run_all(kernels, rows, source, visible, kSplit, out, ws);
    const int64_t begin = task.split * kSplit, end = std::min(context, begin + kSplit);
    run_split(kernels, rows, source, visible, {begin, end}, ws);
    for (int r = 0; r < rows.rows(); ++r)
      kernels.close(ws.split, r, static_cast<int>(q.dim(2)), record(task.record + r));
  }

  void run(const Merge& merge) const {
    alignas(64) float total[kRecordHead + kMostSize];
    const Queries rows = queries(merge.tile);
    const auto size = static_cast<int>(q.dim(2));
    for (int r = 0; r < rows.rows(); ++r) {
      open_record(total, size);
      for (int64_t split = 0; split < merge.splits; ++split)
        kernels.merge(record(merge.tile.record + split * rows.rows() + r), size, total);
      kernels.finish(total, size, rows.row_of(out, r));
    }
  }

  template <typename Item>
  void run_each(ThreadPool& pool, const std::vector<Item>& items) const {
    pool.parallel_for(static_cast<int64_t>(items.size()), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) run(items[static_cast<size_t>(i)]);
    });
  }
};

}  // namespace

void paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out) {
  const Plan plan = make_plan(in.batch, kv.k.dim(1), q.dim(1) / kv.k.dim(1));
  const Tensor records = ctx.empty({plan.records, record_size(q.dim(2))});
  if (ctx.device.is_meta()) return;
  const PagedRun run{kernels_for(ctx.isa), q, kv, in, out, records.data<float>()};
  run.run_each(*ctx.pool, plan.tasks);
  run.run_each(*ctx.pool, plan.merges);
}

void segment_attention(Ctx& ctx, const SegmentInputs& in, const Tensor& out) {
  const int64_t heads = in.k.dim(1), group = in.q.dim(1) / heads,
                tile = std::max<int64_t>(1, kRows / group);
  const bool is_bf16 = ctx.activation == Activation::bf16 && ctx.isa >= Isa::avx512_bf16;
  const AttentionKernels& kernels = is_bf16 ? kAttentionAvx512Bf16 : kernels_for(ctx.isa);
  std::vector<Task> tasks;
  for (size_t s = 0; s + 1 < in.segments.size(); ++s)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t row = in.segments[s]; row < in.segments[s + 1]; row += tile)
        tasks.push_back(
            {static_cast<int64_t>(s), head, row, std::min(tile, in.segments[s + 1] - row)});
  ctx.pool->parallel_for(
      static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end, int) {
        Workspace ws;
        for (int64_t i = begin; i < end; ++i) {
          const Task& task = tasks[static_cast<size_t>(i)];
          const int64_t first = in.segments[static_cast<size_t>(task.sequence)];
          const int64_t keys = in.segments[static_cast<size_t>(task.sequence) + 1] - first;
          const Queries queries{in.q, task.first, task.count, task.head * group, group};
          load_queries(kernels, queries, in.scale, ws);
          run_all(kernels,
                  queries,
                  KeySource::rows(in.k, in.v, first, task.head),
                  {keys, false},
                  keys,
                  out,
                  ws);
        }
      });
}

}  // namespace quern::ops::cpu

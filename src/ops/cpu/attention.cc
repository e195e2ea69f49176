// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

// The mode alone decides, never a shape: a row must meet the same kernels in every step.
const AttentionKernels& kernels_for(const Ctx& ctx) {
  const bool rounds = ctx.activation == Activation::bf16 || ctx.activation == Activation::int8;
  if (rounds && ctx.isa >= Isa::avx512_bf16) return kAttentionAvx512Bf16;
  return ctx.isa >= Isa::avx512 ? kAttentionAvx512 : kAttentionAvx2;
}

// Enough that a thread which is held up does not hold up the others for long.
constexpr int kTasksPerThread = 8;

alignas(64) constexpr std::byte kZeros[kMostSize * 4]{};

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
  // Blocks of a cache.
  static KeySource blocks(const PagedKv& kv, const int32_t* table, int64_t head) {
    KeySource s(kv.k, kv.v, kv.k.dim(3));
    s.block_size_ = kv.k.dim(2);
    s.block_step_ = kv.k.dim(1) * s.block_size_ * s.size_;
    s.k_first_ = s.v_first_ = head * s.block_size_ * s.size_;
    s.k_step_ = s.v_step_ = s.size_;
    s.table_ = table;
    return s;
  }

  // Points at keys and values [begin, begin + count).
  void find(int64_t begin, int count, KeyRows& rows) const {
    rows.count = count;
    rows.size = static_cast<int>(size_);
    rows.dtype = k_.dtype();
    if (table_ == nullptr) {
      point(k_first_ + begin * k_step_, v_first_ + begin * v_step_, 0, count, rows);
    } else {
      int64_t block = begin / block_size_, inside = begin % block_size_;
      for (int at = 0; at < count; inside = 0, ++block) {
        const int64_t element = table_[block] * block_step_ + k_first_ + inside * size_;
        const auto here = static_cast<int>(std::min<int64_t>(count - at, block_size_ - inside));
        point(element, element, at, at + here, rows);
        at += here;
      }
    }
    std::fill(rows.key + count, rows.key + kSplit, kZeros);
    std::fill(rows.value + count, rows.value + kSplit, kZeros);
  }

 private:
  KeySource(const Tensor& k, const Tensor& v, int64_t size) : k_(k), v_(v), size_(size) {}

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
  int64_t size_, k_first_ = 0, v_first_ = 0, k_step_ = 0, v_step_ = 0;
  int64_t block_size_ = 0, block_step_ = 0;
  const int32_t* table_ = nullptr;
};

// The queries of one task: `count` step rows from `first` on, `group` heads each. Row r of the task
// is head r % group of step row r / group.
struct Queries {
  const Tensor& q;
  int64_t first, count;
  int64_t head, group;  // the first query head, and how many share the KV head

  int rows() const { return static_cast<int>(count * group); }
  int size() const { return static_cast<int>(q.dim(2)); }
  const float* row(int r) const {
    return q.data<float>() + (first + r / group) * q.stride(0) + (head + r % group) * q.dim(2);
  }
  float* row_of(const Tensor& out, int r) const {
    return out.data<float>() + ((first + r / group) * q.dim(1) + head + r % group) * q.dim(2);
  }
};

// How many keys a step row of the task sees: one more for each later row if causal.
struct Visible {
  int64_t seen;
  bool is_causal;
  int64_t of(int64_t step_row) const { return is_causal ? seen + step_row : seen; }
};

// A tile of queries on its way along the keys of one KV head.
struct Walk {
  const AttentionKernels& kernels;
  const Queries& queries;
  const KeySource& source;
  Visible visible;

  void load(float scale, Workspace& ws) const {
    for (int r = 0; r < queries.rows(); ++r)
      kernels.load_query(queries.row(r), scale, queries.size(), r, ws);
  }

  void set_limits(const KeyRows& keys, int64_t begin, Workspace& ws) const {
    const auto group = static_cast<int>(queries.group);
    for (int64_t i = 0; i < queries.count; ++i)
      std::fill_n(ws.limit + i * group,
                  group,
                  static_cast<int32_t>(std::clamp<int64_t>(visible.of(i) - begin, 0, keys.count)));
  }

  // Splits [first, last), the records of split s taken into totals + (s - first) * stride.
  void run(Range splits, int64_t stride, float* totals, Workspace& ws) const {
    const int64_t keys = visible.of(queries.count - 1);
    const auto find = [&](int64_t split, KeyRows& rows) {
      const int64_t begin = split * kSplit;
      source.find(begin, static_cast<int>(std::min<int64_t>(kSplit, keys - begin)), rows);
    };
    KeyRows rows[2];
    find(splits.begin, rows[0]);
    for (int64_t s = splits.begin; s < splits.end; ++s) {
      const KeyRows& now = rows[(s - splits.begin) % 2];
      KeyRows* next = s + 1 < splits.end ? &rows[(s - splits.begin + 1) % 2] : nullptr;
      if (next != nullptr) find(s + 1, *next);
      set_limits(now, s * kSplit, ws);
      kernels.attend(now, next, queries.rows(), totals + (s - splits.begin) * stride, ws);
    }
  }

  // Every split, and the result.
  void run_whole(const Tensor& out, Workspace& ws) const {
    alignas(64) float totals[kRows * kMostRecord];
    open_records(totals, queries.rows());
    run({0, splits_of(visible.of(queries.count - 1))}, 0, totals, ws);
    for (int r = 0; r < queries.rows(); ++r)
      kernels.finish(
          totals + r * record_size(queries.size()), queries.size(), queries.row_of(out, r));
  }

  void open_records(float* records, int64_t count) const {
    const int64_t step = record_size(queries.size());
    std::fill_n(records, count * step, 0.0f);
    for (int64_t i = 0; i < count; ++i) records[i * step] = kNoScore;
  }

  static int64_t splits_of(int64_t keys) { return (keys + kSplit - 1) / kSplit; }
};

// One unit of parallel work: a tile of queries over all its keys, or (record >= 0) over some splits
// only, whose records then wait for a Merge.
struct Task {
  int64_t sequence, head;  // KV head
  int64_t first, count;    // step rows
  Range splits{0, 0};
  int64_t record = -1;
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
  int64_t records = 0;  // for every tile that could be shared out, whether it was or not
};

// Sequences of few rows and many keys (decoding) may be shared out by splits, all others are cut
// into tiles of rows. `chunk` splits make a task: how many does not show in the bits.
Plan make_plan(const PagedBatch& batch, int64_t heads, int64_t group, int64_t chunk) {
  Plan plan;
  const int64_t tile = std::max<int64_t>(1, kRows / group);
  for (size_t s = 0; s < batch.context_lengths.size(); ++s) {
    const int64_t first = batch.offsets[s], count = batch.offsets[s + 1] - first;
    const int64_t splits = Walk::splits_of(batch.context_lengths[s]);
    for (int64_t head = 0; count > 0 && head < heads; ++head) {
      const int64_t record = plan.records;
      if (count <= tile && splits > 1) plan.records += splits * count * group;
      const Task whole{static_cast<int64_t>(s), head, first, count};
      if (count > tile || splits <= chunk) {
        for (int64_t row = (count - 1) / tile * tile; row >= 0; row -= tile)  // the longest first
          plan.tasks.push_back({whole.sequence, head, first + row, std::min(tile, count - row)});
        continue;
      }
      plan.merges.push_back({whole, splits});
      plan.merges.back().tile.record = record;
      for (int64_t split = 0; split < splits; split += chunk)
        plan.tasks.push_back({whole.sequence,
                              head,
                              first,
                              count,
                              {split, std::min(splits, split + chunk)},
                              record + split * count * group});
    }
  }
  return plan;
}

// Splits to a task, so that each of `threads` finds several tasks.
int64_t chunk_of(const PagedBatch& batch, int64_t heads, int threads) {
  int64_t splits = 0;
  for (const int32_t context : batch.context_lengths) splits += Walk::splits_of(context) * heads;
  return std::max<int64_t>(1, splits / (int64_t{kTasksPerThread} * threads));
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
    const Walk walk{kernels, rows, source, {context - (last - task.first) + 1, true}};
    walk.load(in.scale, ws);
    if (task.record < 0) return walk.run_whole(out, ws);
    walk.open_records(record(task.record), task.splits.size() * rows.rows());
    walk.run(task.splits, rows.rows() * record_size(q.dim(2)), record(task.record), ws);
  }

  void run(const Merge& merge) const {
    const Queries rows = queries(merge.tile);
    for (int r = 0; r < rows.rows(); ++r) {
      float* total = record(merge.tile.record + r);
      for (int64_t split = 1; split < merge.splits; ++split)
        kernels.merge(record(merge.tile.record + split * rows.rows() + r), rows.size(), total);
      kernels.finish(total, rows.size(), rows.row_of(out, r));
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
  const int64_t heads = kv.k.dim(1);
  const int threads = ctx.device.is_meta() ? 1 : ctx.pool->size();
  const Plan plan =
      make_plan(in.batch, heads, q.dim(1) / heads, chunk_of(in.batch, heads, threads));
  const Tensor records = ctx.empty({plan.records, record_size(q.dim(2))});
  if (ctx.device.is_meta()) return;
  const PagedRun run{kernels_for(ctx), q, kv, in, out, records.data<float>()};
  run.run_each(*ctx.pool, plan.tasks);
  run.run_each(*ctx.pool, plan.merges);
}

void segment_attention(Ctx& ctx, const SegmentInputs& in, const Tensor& out) {
  const int64_t heads = in.k.dim(1), group = in.q.dim(1) / heads,
                tile = std::max<int64_t>(1, kRows / group);
  const AttentionKernels& kernels = kernels_for(ctx);
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
          const KeySource source = KeySource::rows(in.k, in.v, first, task.head);
          const Walk walk{kernels, queries, source, {keys, false}};
          walk.load(in.scale, ws);
          walk.run_whole(out, ws);
        }
      });
}

}  // namespace quern::ops::cpu

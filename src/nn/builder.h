// SPDX-License-Identifier: Apache-2.0
// Builder: a cursor into a checkpoint. `b / "mlp"` steps down; asking it for a layer loads this
// rank's part and packs it. Matrices are read in bands of rows on all threads of ctx.pool, and the
// pages of the file are given back once they are packed: a model in memory is not held twice.
//
// The model states the size it expects of every matrix and vector; what the file holds is checked
// against that. On Device::meta with a checkpoint that has a config and no weights, the expected
// size is taken for the file's.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/linear.h"
#include "nn/packed_weights.h"
#include "nn/pooling.h"
#include "tensor/ctx.h"
#include "tensor/quant_slice.h"
#include "tensor/shard.h"
#include "weights/checkpoint.h"
#include "weights/weight_format.h"

namespace quern {

// Whether the architecture has a bias there. A bias in the file that the architecture lacks is
// skipped. if_stored: where the file decides; of a stack, matrices without one add zero.
enum class Bias : uint8_t { none, present, if_stored };

// An axis of `length` elements and the parts of it that this rank holds: one range, or many where
// an inner axis follows the order in which a checkpoint's groups were formed.
struct Cut {
  int64_t length = 0;
  std::vector<Range> parts;  // ascending, disjoint

  static Cut whole(int64_t length) { return {length, {{0, length}}}; }
  int64_t size() const;  // elements held
};

// Rows of the stored matrix `name` [length, K] that this rank holds, in this order.
struct RowPart {
  std::string name;
  int64_t length = 0;
  std::vector<Range> rows;
  Bias bias = Bias::present;  // none: zeros in the bias of a stack that has one
};

// Rows that are looked up one by one, where the file has them.
class Table {
 public:
  // [rows, K] of f32, f16 or bf16, borrowed from the checkpoint where it can be (and on meta);
  // undefined for other formats.
  const Tensor& floats() const { return floats_; }
  // One row, [1, K] float32, for any format.
  Tensor row(int64_t r) const;

 private:
  friend class Builder;
  std::shared_ptr<const Checkpoint> checkpoint_;
  const WeightFormat* format_ = nullptr;
  std::string path_;
  Range rows_;  // of the whole matrix
  Tensor floats_;
};

// What a layer that is built stands for: on meta one expert stands for all of its kind.
struct Stands {
  int64_t copies = 1;     // 0: it is counted elsewhere
  double read_share = 1;  // of the copies' bytes, what one token reads
  bool is_paged = false;  // it lies in the file until it is needed, and is not to be kept
};

// Experts that lie in the file (BuilderOptions::expert_memory_bytes).
struct PagedExperts {
  int64_t bytes = 0;        // of all, as packed
  int64_t token_bytes = 0;  // of those that one token chooses
};

// One weight of a rank.
struct LoadedWeight {
  std::string path;  // of a stack its first matrix: "model.layers.0.mlp.gate_proj"
  Shape held;        // rows (of the whole stack) and columns of this rank
  Shape whole;       // of the matrix at `path`
  Granule granule;
  int64_t bytes = 0;  // as packed, of all copies
  Stands stands = {};
};

// Where the reference implementations of a family differ, which of them is followed; empty: the
// default that the model's file states.
struct ReferenceChoice {
  std::string xdrope_layout;    // "A" or "B" (docs/models/hunyuan-ocr.md)
  std::string position_resize;  // "size" or "scale"
};
// How ranks share the experts of a layer: whole ones, or the inner units of each.
enum class ExpertSplit : uint8_t { whole, inside };

struct BuilderOptions {
  bool int8_head =
      false;  // output matrices of floats are rounded to int8 when loaded; see ops/round.h
  // Where packed weights are looked up, and gathered for the next start; must outlive the Builder.
  // Null: every weight is packed from the checkpoint, as it is on meta in any case.
  PackedWeights* packed = nullptr;
  ReferenceChoice reference = {};
  std::optional<ExpertSplit> expert_split = {};  // empty: by the layer's sizes (nn/moe.h)
  // Routed experts stay in the file until tokens choose them, and at most so many bytes of them are
  // held; empty: all are loaded.
  std::optional<int64_t> expert_memory_bytes = {};
  // Sees the inputs of every linear layer that is loaded, when it is run; must outlive the layers.
  LinearObserver* observer = nullptr;
  Shard stage = {};  // of pipeline parallelism: the layers that are built, stage.range(layers)
  Output output = Output::logits;  // what a decoder ends in
};

class ExpertMemory;

class Builder {
 public:
  using Names = std::initializer_list<std::string_view>;

  // Layers are packed for ctx (its device and ISA) with ctx.pool; ctx must outlive the Builder's
  // use, not the layers.
  Builder(std::shared_ptr<const Checkpoint> checkpoint,
          const Ctx& ctx,
          Shard shard = {},
          const BuilderOptions& options = {});

  Builder operator/(std::string_view part) const;  // may hold dots: b / "mlp.0"
  Builder operator/(int64_t index) const;
  // The same place; layers are packed for another ctx.
  Builder on(const Ctx& ctx) const;

  const Config& config() const;  // of the whole checkpoint
  const Ctx& ctx() const;
  const Shard& shard() const;
  const Shard& stage() const;
  const ReferenceChoice& reference() const;
  LinearObserver* observer() const;  // null: nobody looks on
  std::optional<ExpertSplit> expert_split() const;
  const std::shared_ptr<ExpertMemory>& expert_memory() const;  // null: all experts are loaded
  Output output() const;
  const std::string& prefix() const { return prefix_; }
  const std::shared_ptr<const Checkpoint>& checkpoint() const;  // what borrowed tables keep alive
  bool has_weights() const;  // false: every size is the expected one
  bool has(std::string_view name)
      const;  // a tensor of this full name below the cursor, e.g. "q_norm.weight"

  // Cuts an inner axis that is the N of `columns` and the K of `rows`, in whole blocks of all their
  // formats. Where the first of `rows` is stored sorted by group, whole groups are dealt out.
  Cut cut(int64_t length, Names columns, Names rows) const;
  // Where cut() cuts it: multiples of so many elements.
  int64_t cut_granule(int64_t length, Names columns, Names rows) const;

  // Each returns one packed product; several matrices are stacked along N. Cuts may go through
  // blocks: see quant_slice.h. Throws data_loss where sizes differ from what is stated, not_found
  // for a missing matrix or bias.
  Linear whole(Names names, int64_t n, int64_t k, Bias bias = Bias::none) const;
  Linear columns(Names names,
                 const Cut& n,
                 int64_t k,
                 Bias bias = Bias::none) const;  // this rank's outputs
  Linear rows(std::string_view name,
              int64_t n,
              const Cut& k,
              Bias bias = Bias::none) const;  // summed over ranks
  // The matrix that makes logits, this rank's outputs: rounded if the options ask for it.
  Linear head(std::string_view name, const Cut& n, int64_t k, Bias bias = Bias::none) const;
  Linear stack(const std::vector<RowPart>& parts, int64_t k, Bias bias = Bias::none) const;
  // As rows(), without bias and sum: what this rank adds to a sum that the caller takes.
  Linear addend(std::string_view name, int64_t n, const Cut& k) const;
  // Whole, and its inputs are never rounded (the caller runs it with Activation::f32): routers.
  Linear exact(std::string_view name, int64_t n, int64_t k) const;
  // One product [rows, K] for each range of rows of a matrix `whole`, or of it turned [K, rows].
  // Quantized matrices become floats.
  enum class Turned : bool { no, yes };
  std::vector<std::unique_ptr<ops::PackedWeight>> heads(std::string_view name,
                                                        const Shape& whole,
                                                        std::span<const Range> rows,
                                                        Turned turned) const;

  // This rank's rows of a matrix that is looked up and not multiplied: embedding tables.
  Table table(std::string_view name, const Cut& n, int64_t k) const;
  // A whole vector as float32: `name` is the full tensor name below the cursor
  // ("input_layernorm.weight").
  Tensor vector(std::string_view name, int64_t length) const;

  // Matrices below the cursor that will soon be loaded: the system may begin to read them.
  void read_ahead(Names names) const;

  // What is loaded through the result counts for several of its kind.
  Builder standing_for(const Stands& stands) const;
  const Stands& stands() const { return stands_; }
  // Bytes of all that was loaded through this Builder and its copies, as packed; tables that are
  // borrowed count too, and of experts in the file what may be held.
  int64_t loaded_bytes() const;
  const PagedExperts& paged_experts() const;
  // On meta, what that is made of: products, and tables, which stay in the file.
  const std::vector<LoadedWeight>& loaded() const;
  const std::vector<LoadedWeight>& tables() const;
  // The kernels that were chosen for what was loaded, with the bytes that each will read.
  std::string kernels() const;
  // What rounding the head changed: root mean square over that of its weights; 0 if nothing was.
  double head_error() const;

 private:
  struct Band;
  struct Loading;
  std::string path_of(std::string_view name) const;
  Granule granule_of(std::string_view name) const;
  std::vector<int32_t> order_of(std::string_view name) const;
  void check_shape(const std::string& path, int64_t n, int64_t k) const;
  QuantMatrix read(std::string_view name, const Shape& whole, Range rows, Range cols) const;
  QuantMatrix read_rows(std::string_view name,
                        const Shape& whole,
                        std::span<const Range> rows,
                        Range cols) const;
  TakenInputs read_part(const Band& band, const Cut& k) const;
  PackedWeights* packed_weights() const;
  int64_t piece_elements(int64_t elements) const;
  int64_t band_height(const RowPart& part, int64_t cols, int64_t piece) const;
  std::vector<Band> bands_of(const std::vector<RowPart>& parts, const Cut& k) const;
  std::vector<TakenInputs> read_bands(std::span<const Band> bands, const Cut& k) const;
  enum class Keep : uint8_t { as_stored, as_int8 };
  void round(std::vector<QuantMatrix>& parts, PackedEntry& made) const;
  // A packed weight and, where its columns do not read the inputs as they come, what each reads.
  struct Packed {
    std::unique_ptr<ops::PackedWeight> weight;
    std::vector<int32_t> gather;
  };
  Packed pack(const std::vector<RowPart>& parts, const Cut& k, Keep keep) const;
  Packed pack_anew(const std::vector<RowPart>& parts,
                   const Cut& k,
                   Keep keep,
                   PackedEntry& made) const;
  struct Sizes {
    Shape held, whole;
    int64_t bytes;
  };
  void count(std::string_view name, const Sizes& sizes, const std::string& kernel) const;
  int64_t block_granule(Names columns, Names rows) const;
  QuantMatrix read_floats(std::string_view name, const Shape& whole, Range rows) const;
  std::string packed_name(const std::vector<RowPart>& parts, const Cut& k, Keep keep) const;
  Tensor bias_of(const std::vector<RowPart>& parts, Bias bias) const;
  Linear load(const std::vector<RowPart>& parts,
              const Cut& k,
              Bias bias,
              Keep keep = Keep::as_stored) const;

  std::shared_ptr<Loading> loading_;
  const Ctx* ctx_;
  std::string prefix_;
  Stands stands_;
};

}  // namespace quern

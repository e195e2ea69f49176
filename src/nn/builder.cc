// SPDX-License-Identifier: Apache-2.0
#include "nn/builder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "nn/expert_memory.h"
#include "nn/loading.h"
#include "ops/round.h"
#include "weights/formats/stated.h"

namespace quern {
namespace {

int64_t row_count(const std::vector<RowPart>& parts) {
  int64_t sum = 0;
  for (const RowPart& part : parts) sum += total_size(part.rows);
  return sum;
}

// Bands are of whole granules, few enough to be wide (several formats store a matrix turned, where
// a row is a column of the file) and large enough to be worth handing over.
constexpr int64_t kLeastBand = int64_t{1} << 19;  // elements
constexpr int64_t kBandsPerThread = 4;
constexpr int64_t kRowStep = 64;  // rows that kernels pack together
constexpr int64_t kMostGap = 64;  // ranges of rows that lie closer together are read as one

// While a matrix is packed, up to two bytes an element are held beside the packed weights: what was
// unpacked, or is mapped in. A matrix for which this would be a sixteenth of the checkpoint is
// packed in pieces of a hundredth: a head of 150,000 rows, which also comes last.
constexpr int64_t kLeastPiece = int64_t{1} << 23;  // elements

int64_t round_up(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

// The granules that hold `range`.
Range whole_granules(Range range, int64_t granule, int64_t length) {
  return {range.begin / granule * granule, std::min(round_up(range.end, granule), length)};
}

}  // namespace

int64_t Cut::size() const {
  return total_size(parts);
}

// Rows of a stored matrix that one thread reads: ranges that lie close together.
struct Builder::Band {
  const RowPart* part;
  bool is_sorted;  // the part's columns, by group
  std::vector<Range> rows;
};

Builder::Builder(std::shared_ptr<const Checkpoint> checkpoint,
                 const Ctx& ctx,
                 Shard shard,
                 const BuilderOptions& options)
    : loading_(std::make_shared<Loading>()), ctx_(&ctx) {
  const bool has_weights = !checkpoint->names().empty();
  if (!has_weights && !ctx.device.is_meta())
    fail(ErrorCode::not_found, "{}: there are no weights beside it", checkpoint->config().path());
  loading_->checkpoint = std::move(checkpoint);
  loading_->shard = std::move(shard);
  loading_->has_weights = has_weights;
  loading_->options = options;
  if (options.expert_memory_bytes)
    loading_->experts = std::make_shared<ExpertMemory>(*options.expert_memory_bytes);
}

Builder Builder::operator/(std::string_view part) const {
  Builder below = *this;
  below.prefix_ = path_of(part);
  return below;
}

Builder Builder::operator/(int64_t index) const {
  return *this / std::string_view(std::to_string(index));
}

Builder Builder::on(const Ctx& ctx) const {
  Builder out = *this;
  out.ctx_ = &ctx;
  return out;
}

const Config& Builder::config() const {
  return loading_->checkpoint->config();
}
const Ctx& Builder::ctx() const {
  return *ctx_;
}
const Shard& Builder::shard() const {
  return loading_->shard;
}
const Shard& Builder::stage() const {
  return loading_->options.stage;
}
const ReferenceChoice& Builder::reference() const {
  return loading_->options.reference;
}
LinearObserver* Builder::observer() const {
  return loading_->options.observer;
}
std::optional<ExpertSplit> Builder::expert_split() const {
  return loading_->options.expert_split;
}
const std::shared_ptr<ExpertMemory>& Builder::expert_memory() const {
  return loading_->experts;
}
Output Builder::output() const {
  return loading_->options.output;
}
const std::shared_ptr<const Checkpoint>& Builder::checkpoint() const {
  return loading_->checkpoint;
}
bool Builder::has_weights() const {
  return loading_->has_weights;
}
bool Builder::has(std::string_view name) const {
  return loading_->checkpoint->has(path_of(name));
}
int64_t Builder::loaded_bytes() const {
  const int64_t most = loading_->experts ? loading_->experts->most_bytes() : 0;
  return loading_->bytes + std::min(loading_->paged.bytes, most);
}
const PagedExperts& Builder::paged_experts() const {
  return loading_->paged;
}

void Builder::read_ahead(Names names) const {
  for (const std::string_view name : names) loading_->checkpoint->read_ahead(path_of(name));
}

const std::vector<LoadedWeight>& Builder::loaded() const {
  return loading_->weights;
}
const std::vector<LoadedWeight>& Builder::tables() const {
  return loading_->tables;
}

std::string Builder::kernels() const {
  std::string out;
  for (const auto& [kernel, bytes] : loading_->kernels)
    out += format(
        "{}{} {:.2f} GB", out.empty() ? "" : ", ", kernel, static_cast<double>(bytes) * 1e-9);
  return out;
}

double Builder::head_error() const {
  const Loading& l = *loading_;
  return l.squared_weight > 0 ? std::sqrt(l.squared_change / l.squared_weight) : 0;
}

std::string Builder::path_of(std::string_view name) const {
  return prefix_.empty() ? std::string(name) : format("{}.{}", prefix_, name);
}

// The smallest number of elements that are whole blocks of all formats.
int64_t Builder::block_granule(Names columns, Names rows) const {
  int64_t granule = 1;
  for (const std::string_view name : columns) granule = std::lcm(granule, granule_of(name).rows);
  for (const std::string_view name : rows) {
    const Granule g = granule_of(name);
    granule = std::lcm(granule, g.sorted_cols > 0 ? 1 : g.cols);
  }
  return granule;
}

Cut Builder::cut(int64_t length, Names columns, Names rows) const {
  int64_t sorted = 0;
  for (const std::string_view name : rows) sorted = std::max(sorted, granule_of(name).sorted_cols);
  if (sorted > 0 && shard().size() > 1) {
    const Range part = shard().range(length, sorted);
    const std::vector<int32_t> order = order_of(*rows.begin());
    if (order.empty()) return {length, {part}};
    return {length, ranges_of({order.begin() + part.begin, order.begin() + part.end})};
  }
  return {length, {shard().range(length, cut_granule(length, columns, rows))}};
}

// Inputs share an int8 scale in groups counted from a rank's first: cut there, every degree rounds
// alike.
int64_t Builder::cut_granule(int64_t length, Names columns, Names rows) const {
  const int64_t granule = block_granule(columns, rows);
  const int64_t rounded = std::lcm(granule, ops::kMostGroupInputs);
  return length >= rounded * shard().size() ? rounded : granule;
}

std::vector<int32_t> Builder::order_of(std::string_view name) const {
  const Checkpoint& checkpoint = *loading_->checkpoint;
  if (!has_weights()) return {};
  return format_of(checkpoint, path_of(name)).column_order(checkpoint, path_of(name));
}

Granule Builder::granule_of(std::string_view name) const {
  const Checkpoint& checkpoint = *loading_->checkpoint;
  if (!has_weights()) return stated_granule(checkpoint, path_of(name));
  return format_of(checkpoint, path_of(name)).granule(checkpoint, path_of(name));
}

void Builder::check_shape(const std::string& path, int64_t n, int64_t k) const {
  const Shape stored = format_of(*loading_->checkpoint, path).shape(*loading_->checkpoint, path);
  if (stored == Shape{n, k}) return;
  fail(ErrorCode::data_loss,
       "{}: expected [{}, {}] by {}, got {} in the file: the two do not belong together, or one of "
       "them was padded or cut",
       path,
       n,
       k,
       config().path(),
       stored.text());
}

QuantMatrix Builder::read(std::string_view name, const Shape& whole, Range rows, Range cols) const {
  if (!has_weights())
    return stated_matrix(
        *loading_->checkpoint, path_of(name), {rows.size(), cols.size()}, whole[1]);
  const Checkpoint& checkpoint = *loading_->checkpoint;
  const std::string path = path_of(name);
  const WeightFormat& format = format_of(checkpoint, path);
  const Granule granule = format.granule(checkpoint, path);
  const Range stored_rows = whole_granules(rows, granule.rows, whole[0]);
  const Range stored_cols = whole_granules(cols, granule.cols, whole[1]);
  QuantMatrix w = format.read(checkpoint, path, stored_rows, stored_cols, ctx().device);
  if (ctx().device.is_meta() && granule.sorted_cols > 0)
    w.column_order = format.column_order(checkpoint, path);
  if (stored_rows == rows && stored_cols == cols) return w;
  return slice(w,
               {rows.begin - stored_rows.begin, rows.end - stored_rows.begin},
               {cols.begin - stored_cols.begin, cols.end - stored_cols.begin});
}

QuantMatrix Builder::read_rows(std::string_view name,
                               const Shape& whole,
                               std::span<const Range> rows,
                               Range cols) const {
  const Range all{rows.front().begin, rows.back().end};
  QuantMatrix w = read(name, whole, all, cols);
  if (rows.size() == 1) return w;
  std::vector<Range> local(rows.begin(), rows.end());
  for (Range& r : local) r = {r.begin - all.begin, r.end - all.begin};
  return take_rows(w, local);
}

// A matrix whose columns are sorted by group is read whole, then its inputs are taken.
TakenInputs Builder::read_part(const Band& band, const Cut& k) const {
  const RowPart& part = *band.part;
  const Shape whole{part.length, k.length};
  if (k.parts.size() == 1 && !band.is_sorted)
    return {read_rows(part.name, whole, band.rows, k.parts[0]), {}};
  return take_inputs(read_rows(part.name, whole, band.rows, {0, k.length}), k.parts);
}

Tensor Builder::bias_of(const std::vector<RowPart>& parts, Bias bias) const {
  const auto is_read = [&](const RowPart& part) {
    if (part.bias == Bias::none) return false;
    return bias == Bias::present || (bias == Bias::if_stored && has(part.name + ".bias"));
  };
  if (std::ranges::none_of(parts, is_read)) return {};
  Tensor out = Tensor::empty({row_count(parts)}, DType::f32, ctx().device);
  if (out.raw() != nullptr) std::ranges::fill(out.span<float>(), 0.0f);
  int64_t at = 0;
  for (const RowPart& part : parts) {
    if (!is_read(part)) {
      at += total_size(part.rows);
      continue;
    }
    const Tensor stored = vector(part.name + ".bias", part.length);
    for (const Range rows : part.rows) {
      if (out.raw() != nullptr && !rows.is_empty())
        std::copy_n(stored.data<float>() + rows.begin, rows.size(), out.data<float>() + at);
      at += rows.size();
    }
  }
  return out;
}

int64_t Builder::piece_elements(int64_t elements) const {
  const int64_t total = loading_->checkpoint->total_bytes();
  const bool is_large = ctx().pool != nullptr && elements > std::max(kLeastPiece, total / 32);
  return is_large ? std::max(kLeastPiece, total / 200) : std::numeric_limits<int64_t>::max();
}

// Rows that one thread reads of a part.
int64_t Builder::band_height(const RowPart& part, int64_t cols, int64_t piece) const {
  if (ctx().pool == nullptr) return std::max<int64_t>(part.length, 1);
  const int64_t step = std::lcm(kRowStep, has_weights() ? granule_of(part.name).rows : 1);
  const int64_t bands = kBandsPerThread * ctx().pool->size();
  const int64_t wanted = std::max(kLeastBand / cols, total_size(part.rows) / bands) + 1;
  return round_up(std::min(wanted, piece / cols / bands + 1), step);
}

std::vector<Builder::Band> Builder::bands_of(const std::vector<RowPart>& parts,
                                             const Cut& k) const {
  std::vector<Band> bands;
  const int64_t cols = std::max<int64_t>(k.size(), 1),
                piece = piece_elements(row_count(parts) * cols);
  for (const RowPart& part : parts) {
    const int64_t height = band_height(part, cols, piece);
    const bool is_sorted = has_weights() && granule_of(part.name).sorted_cols > 0;
    for (const Range rows : part.rows)
      for (int64_t at = rows.begin; at < rows.end; at += height) {
        const Range next{at, std::min(at + height, rows.end)};
        const bool joins = !bands.empty() && bands.back().part == &part &&
                           next.begin >= bands.back().rows.back().end &&
                           next.begin - bands.back().rows.back().end < kMostGap &&
                           next.end - bands.back().rows.front().begin <= height;
        if (!joins) bands.push_back({&part, is_sorted, {}});
        bands.back().rows.push_back(next);
      }
  }
  return bands;
}

// Every band is read by one thread; the first that fails, in their order, says why.
std::vector<TakenInputs> Builder::read_bands(std::span<const Band> bands, const Cut& k) const {
  std::vector<TakenInputs> out(bands.size());
  std::vector<std::exception_ptr> failures(bands.size());
  const auto read_some = [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) try {
        out[i] = read_part(bands[i], k);
      } catch (...) {
        failures[i] = std::current_exception();
      }
  };
  const auto count = static_cast<int64_t>(bands.size());
  if (ctx().pool == nullptr)
    read_some(0, count, 0);
  else
    ctx().pool->parallel_for(count, 1, read_some);
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  return out;
}

// Matrices of floats; what is quantized already stays as it is.
void Builder::round(std::vector<QuantMatrix>& parts, PackedEntry& made) const {
  for (QuantMatrix& part : parts) {
    if (!part.is_plain() || bits_of(part.codes.dtype()) < 16) continue;
    ops::RoundedWeight rounded = ops::round_to_int8(ctx(), part);
    made.squared_change += rounded.squared_change;
    made.squared_weight += rounded.squared_weight;
    part = std::move(rounded.weight);
  }
}

// All that a packed weight is made from, besides the checkpoint and ctx.
std::string Builder::packed_name(const std::vector<RowPart>& parts, const Cut& k, Keep keep) const {
  std::string out;
  for (const RowPart& part : parts) out += path_of(part.name) + text_of(part.rows) + ' ';
  return out + format("x {}{}", text_of(k.parts), keep == Keep::as_int8 ? " i8" : "");
}

// The cache of packed weights, for what it keeps.
PackedWeights* Builder::packed_weights() const {
  return ctx().device.is_meta() || stands_.is_paged ? nullptr : loading_->options.packed;
}

// What was rearranged for this rank is not kept: its columns differ from those of the file.
Builder::Packed Builder::pack(const std::vector<RowPart>& parts, const Cut& k, Keep keep) const {
  const bool is_rearranged =
      k.size() < k.length && has_weights() && granule_of(parts.front().name).sorted_cols > 0;
  PackedWeights* cache = is_rearranged ? nullptr : packed_weights();
  PackedEntry made{.name = packed_name(parts, k, keep), .pieces = {}};
  Packed packed;
  if (cache != nullptr) packed.weight = cache->restore(ctx(), row_count(parts), k.size(), made);
  if (packed.weight == nullptr) packed = pack_anew(parts, k, keep, made);
  loading_->squared_change += made.squared_change;
  loading_->squared_weight += made.squared_weight;
  if (cache != nullptr) cache->entries.push_back(std::move(made));
  return packed;
}

// Packs from the checkpoint; what was made is shown in `made` if there is a cache for it.
Builder::Packed Builder::pack_anew(const std::vector<RowPart>& parts,
                                   const Cut& k,
                                   Keep keep,
                                   PackedEntry& made) const {
  if (ctx().pool != nullptr)
    for (const RowPart& part : parts) loading_->checkpoint->read_ahead(path_of(part.name));
  const std::vector<Band> bands = bands_of(parts, k);
  const int64_t most_rows = piece_elements(row_count(parts) * k.size()) / k.size();
  const bool gathers = packed_weights() != nullptr;
  std::vector<std::unique_ptr<ops::PackedWeight>> pieces;
  std::vector<int32_t> gather;
  for (size_t begin = 0, end = 0; begin < bands.size(); begin = end) {
    for (int64_t rows = 0; end < bands.size(); ++end) {
      rows += total_size(bands[end].rows);
      if (end > begin && rows > most_rows) break;
    }
    std::vector<QuantMatrix> read;
    for (TakenInputs& band : read_bands(std::span(bands).subspan(begin, end - begin), k)) {
      read.push_back(std::move(band.weight));
      gather = std::move(band.gather);  // the same in each
    }
    if (keep == Keep::as_int8) round(read, made);
    PackedPiece shown;
    if (gathers) std::ranges::transform(read, std::back_inserter(shown.parts), on_meta);
    pieces.push_back(ops::pack_weight(ctx(), std::move(read)));
    if (gathers) {
      pieces.back()->each_tensor([&](Tensor& t) { shown.tensors.push_back(t); });
      made.pieces.push_back(std::move(shown));
    }
    for (const RowPart& part : parts) loading_->checkpoint->give_back(path_of(part.name));
  }
  return {ops::stack_weights(std::move(pieces)), std::move(gather)};
}

// What was loaded, for plans, which are made on meta: asking for granules takes time that a start
// does not have.
void Builder::count(std::string_view name, const Sizes& sizes, const std::string& kernel) const {
  if (stands_.copies == 0) return;
  const int64_t bytes = sizes.bytes * stands_.copies;
  if (stands_.is_paged) {
    loading_->paged.bytes += bytes;
    loading_->paged.token_bytes +=
        static_cast<int64_t>(stands_.read_share * static_cast<double>(bytes));
  } else {
    loading_->bytes += bytes;
  }
  loading_->kernels[kernel] += bytes;
  if (!ctx().device.is_meta()) return;
  loading_->weights.push_back({.path = path_of(name),
                               .held = sizes.held,
                               .whole = sizes.whole,
                               .granule = granule_of(name),
                               .bytes = bytes,
                               .stands = stands_});
}

Builder Builder::standing_for(const Stands& stands) const {
  Builder out = *this;
  out.stands_ = stands;
  return out;
}

Linear Builder::load(const std::vector<RowPart>& parts, const Cut& k, Bias bias, Keep keep) const {
  const int64_t n = row_count(parts);
  if (has_weights())
    for (const RowPart& part : parts) check_shape(path_of(part.name), part.length, k.length);
  Tensor b = bias_of(parts, bias);
  Packed packed;
  if (n > 0 && k.size() > 0) {
    packed = pack(parts, k, keep);
    const RowPart& first = parts.front();
    count(first.name,
          {{n, k.size()}, {first.length, k.length}, packed.weight->bytes()},
          packed.weight->kernel());
  }
  Linear out(std::move(packed.weight), std::move(b), n, k.size());
  if (LinearObserver* const watching = observer())
    out.observed_by(*watching, path_of(parts.front().name));
  return packed.gather.empty() ? out : out.gather_inputs(std::move(packed.gather));
}

Linear Builder::head(std::string_view name, const Cut& n, int64_t k, Bias bias) const {
  const Keep keep = loading_->options.int8_head ? Keep::as_int8 : Keep::as_stored;
  return load({{std::string(name), n.length, n.parts}}, Cut::whole(k), bias, keep);
}

Linear Builder::stack(const std::vector<RowPart>& parts, int64_t k, Bias bias) const {
  return load(parts, Cut::whole(k), bias);
}

Linear Builder::whole(Names names, int64_t n, int64_t k, Bias bias) const {
  return columns(names, Cut::whole(n), k, bias);
}

Linear Builder::columns(Names names, const Cut& n, int64_t k, Bias bias) const {
  std::vector<RowPart> parts;
  for (const std::string_view name : names) parts.push_back({std::string(name), n.length, n.parts});
  return stack(parts, k, bias);
}

Linear Builder::addend(std::string_view name, int64_t n, const Cut& k) const {
  return load({{std::string(name), n, {{0, n}}}}, k, Bias::none);
}

Linear Builder::rows(std::string_view name, int64_t n, const Cut& k, Bias bias) const {
  // The bias is added once: by the first rank, before the sum.
  const Bias own = shard().rank() == 0 ? bias : Bias::none;
  return load({{std::string(name), n, {{0, n}}}}, k, own).sum_over(shard());
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "nn/builder.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <numeric>

#include "base/error.h"

namespace quern {
namespace {

// The type that a checkpoint without weights would have: what config.json says, in the older or the
// newer spelling.
DType stated_dtype(const Config& config) {
  const std::string name = config.string_or("torch_dtype", config.string_or("dtype", "bfloat16"));
  if (name == "float32") return DType::f32;
  return name == "float16" ? DType::f16 : DType::bf16;
}

int64_t row_count(const std::vector<Range>& rows) {
  return std::accumulate(
      rows.begin(), rows.end(), int64_t{0}, [](int64_t sum, Range r) { return sum + r.size(); });
}

int64_t bytes_of(const QuantMatrix& m) {
  int64_t bytes = 0;
  for (const Tensor* t :
       {&m.codes, &m.scales, &m.super_scales, &m.zeros, &m.minimums, &m.super_minimums})
    if (t->defined()) bytes += t->bytes();
  return bytes;
}

// Rows of a stored matrix that one thread reads.
struct Band {
  const RowPart* part;
  Range rows;
};

// Bands are of whole granules, few enough to be wide (several formats store a matrix turned, where
// a row is a column of the file) and large enough to be worth handing over.
struct BandLimits {
  int64_t granule, least, count;  // rows, rows, bands
};
constexpr int64_t kLeastBand = int64_t{1} << 19;  // elements
constexpr int64_t kBandsPerThread = 4;

void append_bands(std::vector<Band>& out,
                  const RowPart& part,
                  Range rows,
                  const BandLimits& limits) {
  const int64_t wanted = std::max(limits.least, (rows.size() + limits.count - 1) / limits.count);
  const int64_t height = (wanted + limits.granule - 1) / limits.granule * limits.granule;
  for (int64_t begin = rows.begin; begin < rows.end; begin += height)
    out.push_back({&part, {begin, std::min(begin + height, rows.end)}});
}

bool is_border(int64_t at, int64_t granule, int64_t length) {
  return at % granule == 0 || at == length;
}

}  // namespace

struct Builder::Loading {
  std::shared_ptr<const Checkpoint> checkpoint;
  const Ctx* ctx;
  Shard shard;
  bool has_weights;
  DType stated;  // without weights: of every matrix
  std::atomic<int64_t> bytes{0};
};

Builder::Builder(std::shared_ptr<const Checkpoint> checkpoint, const Ctx& ctx, Shard shard)
    : loading_(std::make_shared<Loading>()) {
  const bool has_weights = !checkpoint->names().empty();
  if (!has_weights && !ctx.device.is_meta())
    fail(ErrorCode::not_found, "{}: there are no weights beside it", checkpoint->config().path());
  loading_->stated = stated_dtype(checkpoint->config());
  loading_->checkpoint = std::move(checkpoint);
  loading_->ctx = &ctx;
  loading_->shard = std::move(shard);
  loading_->has_weights = has_weights;
}

Builder Builder::operator/(std::string_view part) const {
  Builder below = *this;
  below.prefix_ = path_of(part);
  return below;
}

Builder Builder::operator/(int64_t index) const {
  return *this / std::string_view(std::to_string(index));
}

const Config& Builder::config() const {
  return loading_->checkpoint->config();
}
const Ctx& Builder::ctx() const {
  return *loading_->ctx;
}
const Shard& Builder::shard() const {
  return loading_->shard;
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
  return loading_->bytes;
}

std::string Builder::path_of(std::string_view name) const {
  return prefix_.empty() ? std::string(name) : format("{}.{}", prefix_, name);
}

Cut Builder::cut(int64_t length, Names columns, Names rows) const {
  int64_t granule = 1;
  if (has_weights()) {
    for (const std::string_view name : columns) granule = std::lcm(granule, granule_of(name).rows);
    for (const std::string_view name : rows) granule = std::lcm(granule, granule_of(name).cols);
  }
  return {length, shard().range(length, granule)};
}

Granule Builder::granule_of(std::string_view name) const {
  const Checkpoint& checkpoint = *loading_->checkpoint;
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
  if (!has_weights()) {
    QuantMatrix out;
    out.codes = Tensor::empty({rows.size(), cols.size()}, loading_->stated, Device::meta());
    out.code_bits = bits_of(loading_->stated);
    return out;
  }
  const Checkpoint& checkpoint = *loading_->checkpoint;
  const std::string path = path_of(name);
  const WeightFormat& format = format_of(checkpoint, path);
  const Granule granule = format.granule(checkpoint, path);
  for (const auto& [range, step, length] :
       {std::tuple{rows, granule.rows, whole[0]}, {cols, granule.cols, whole[1]}})
    if (!is_border(range.begin, step, length) || !is_border(range.end, step, length))
      fail(ErrorCode::unsupported,
           "{}: a rank's part [{}, {}) cuts through the blocks of {} that {} stores; use fewer "
           "ranks",
           path,
           range.begin,
           range.end,
           step,
           format.name());
  return format.read(checkpoint, path, rows, cols, ctx().device);
}

Tensor Builder::bias_of(const std::vector<RowPart>& parts) const {
  int64_t count = 0;
  for (const RowPart& part : parts) count += row_count(part.rows);
  Tensor out = Tensor::empty({count}, DType::f32, ctx().device);
  int64_t at = 0;
  for (const RowPart& part : parts) {
    const Tensor stored = vector(part.name + ".bias", part.length);
    for (const Range rows : part.rows) {
      if (out.raw() != nullptr && !rows.is_empty())
        std::memcpy(out.data<float>() + at,
                    stored.data<float>() + rows.begin,
                    static_cast<size_t>(rows.size()) * sizeof(float));
      at += rows.size();
    }
  }
  return out;
}

// Every band is read by one thread; the first that fails, in their order, says why.
std::vector<QuantMatrix> Builder::read_bands(const std::vector<RowPart>& parts,
                                             const Cut& k) const {
  std::vector<Band> bands;
  for (const RowPart& part : parts) {
    const BandLimits limits{
        .granule = has_weights() ? granule_of(part.name).rows : 1,
        .least = ctx().pool == nullptr ? part.length : kLeastBand / k.part.size() + 1,
        .count = ctx().pool == nullptr ? 1 : kBandsPerThread * ctx().pool->size()};
    for (const Range rows : part.rows) append_bands(bands, part, rows, limits);
  }
  std::vector<QuantMatrix> out(bands.size());
  std::vector<std::exception_ptr> failures(bands.size());
  const auto read_one = [&](size_t i) {
    const Band& band = bands[i];
    out[i] = read(band.part->name, {band.part->length, k.length}, band.rows, k.part);
  };
  if (ctx().pool == nullptr) {
    for (size_t i = 0; i < bands.size(); ++i) read_one(i);
    return out;
  }
  ctx().pool->parallel_for(
      static_cast<int64_t>(bands.size()), 1, [&](int64_t begin, int64_t end, int) {
        for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) try {
            read_one(i);
          } catch (...) {
            failures[i] = std::current_exception();
          }
      });
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  return out;
}

Linear Builder::load(const std::vector<RowPart>& parts, const Cut& k, Bias bias) const {
  const Checkpoint& checkpoint = *loading_->checkpoint;
  int64_t n = 0;
  for (const RowPart& part : parts) {
    if (has_weights()) check_shape(path_of(part.name), part.length, k.length);
    n += row_count(part.rows);
  }
  std::unique_ptr<ops::PackedWeight> packed;
  if (n > 0 && !k.part.is_empty()) {
    packed = ops::pack_weight(ctx(), read_bands(parts, k));
    loading_->bytes += packed->bytes();
  }
  Tensor b = bias == Bias::present ? bias_of(parts) : Tensor();
  for (const RowPart& part : parts) checkpoint.give_back(path_of(part.name));
  return Linear(std::move(packed), std::move(b), n, k.part.size());
}

Linear Builder::stack(const std::vector<RowPart>& parts, int64_t k, Bias bias) const {
  return load(parts, {k, {0, k}}, bias);
}

Linear Builder::whole(Names names, int64_t n, int64_t k, Bias bias) const {
  return columns(names, Cut{n, {0, n}}, k, bias);
}

Linear Builder::columns(Names names, const Cut& n, int64_t k, Bias bias) const {
  std::vector<RowPart> parts;
  for (const std::string_view name : names)
    parts.push_back({std::string(name), n.length, {n.part}});
  return stack(parts, k, bias);
}

Linear Builder::rows(std::string_view name, int64_t n, const Cut& k, Bias bias) const {
  // The bias is added once: by the first rank, before the sum.
  const Bias own = shard().rank() == 0 ? bias : Bias::none;
  return load({{std::string(name), n, {{0, n}}}}, k, own).sum_over(shard());
}

QuantMatrix Builder::table(std::string_view name, const Cut& n, int64_t k) const {
  if (has_weights()) check_shape(path_of(name), n.length, k);
  QuantMatrix out = read(name, {n.length, k}, n.part, {0, k});
  loading_->bytes += bytes_of(out);
  return out;
}

Tensor Builder::vector(std::string_view name, int64_t length) const {
  Tensor out;
  if (!has_weights()) {
    out = Tensor::empty({length}, DType::f32, Device::meta());
  } else {
    const std::string path = path_of(name);
    out = read_f32(*loading_->checkpoint, path, ctx().device);
    if (out.numel() != length)
      fail(ErrorCode::data_loss,
           "{}: expected [{}] by {}, got {} in the file",
           path,
           length,
           config().path(),
           out.shape().text());
    out = out.reshape({length});
  }
  loading_->bytes += out.bytes();
  return out;
}

}  // namespace quern

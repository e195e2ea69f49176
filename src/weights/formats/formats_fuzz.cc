// SPDX-License-Identifier: Apache-2.0
// Any tensors and any quantization_config as one layer: either a weight whose parts fit together,
// or an Error.
//
// The input is a line of JSON (the config), a line "NAME KIND SIZE..." for each tensor of the
// layer, an empty line, and bytes that fill the tensors, again from the start where they are too
// few.
#include <cstdlib>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "weights/mapped_checkpoint.h"
#include "weights/stored.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

constexpr int64_t kMaxElements = 1 << 14;

std::optional<Stored> kind_of(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Stored::mxfp4); ++i)
    if (name_of(static_cast<Stored>(i)) == name) return static_cast<Stored>(i);
  return std::nullopt;
}

// Null for a line that describes no small tensor.
std::optional<TensorInfo> parse_tensor(const std::string& line) {
  std::istringstream in(line);
  std::string name, kind;
  in >> name >> kind;
  std::vector<int64_t> sizes;
  int64_t numel = 1;
  for (int64_t size; in >> size;) {
    if (size < 0 || size > kMaxElements || sizes.size() == Shape::kMaxRank) return std::nullopt;
    numel *= std::max<int64_t>(size, 1);
    if (numel > kMaxElements) return std::nullopt;
    sizes.push_back(size);
  }
  const std::optional<Stored> stored = kind_of(kind);
  if (name.empty() || !stored) return std::nullopt;
  return TensorInfo{"p." + name, *stored, Shape(sizes), {}};
}

// Owns what the checkpoint maps.
struct Layer {
  MappedCheckpoint checkpoint;
  std::vector<std::vector<std::byte>> bytes;

  explicit Layer(const std::string& config) : checkpoint(Config::parse(config, "config.json")) {}

  void add(TensorInfo info, const std::string& filling, size_t& used) {
    const int64_t size = stored_bytes(info.stored, info.shape, info.name);
    std::vector<std::byte>& out = bytes.emplace_back(static_cast<size_t>(size));
    for (std::byte& byte : out)
      byte =
          filling.empty() ? std::byte{} : static_cast<std::byte>(filling[used++ % filling.size()]);
    checkpoint.add(std::move(info), out, "input");
  }
};

std::unique_ptr<Layer> parse(const std::string& input) {
  std::istringstream in(input);
  std::string line;
  std::getline(in, line);
  auto layer = std::make_unique<Layer>(line);
  std::vector<TensorInfo> infos;
  while (std::getline(in, line) && !line.empty())
    if (auto info = parse_tensor(line); info && infos.size() < 16) infos.push_back(*info);
  const std::string filling{std::istreambuf_iterator<char>(in), {}};
  size_t used = 0;
  layer->bytes.reserve(infos.size());
  for (TensorInfo& info : infos) layer->add(std::move(info), filling, used);
  return layer;
}

void read_all(const Checkpoint& checkpoint) {
  const WeightFormat& format = format_of(checkpoint, "p");
  const Shape shape = format.shape(checkpoint, "p");
  if (shape.numel() > 4 * kMaxElements || shape.numel() == 0) return;
  const Granule granule = format.granule(checkpoint, "p");
  if (granule.rows < 1 || granule.cols < 1) std::abort();
  const Range rows{0, shape[0]}, cols{0, shape[1]};
  const QuantMatrix whole = format.read(checkpoint, "p", rows, cols, Device::cpu());
  if (dequantize(whole).shape() != shape) std::abort();
  const Range some_rows{0, std::min(granule.rows, shape[0])},
      some_cols{0, std::min(granule.cols, shape[1])};
  (void)dequantize(format.read(checkpoint, "p", some_rows, some_cols, Device::cpu()));
  validate(format.read(checkpoint, "p", rows, cols, Device::meta()));
}

}  // namespace
}  // namespace quern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  quern::set_log_level(quern::LogLevel::off);
  try {
    const auto layer = quern::parse(std::string(reinterpret_cast<const char*>(data), size));
    quern::read_all(layer->checkpoint);
  } catch (const quern::Error&) {
  }
  return 0;
}

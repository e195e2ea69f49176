// SPDX-License-Identifier: Apache-2.0
// Sources: torch/serialization.py (the archive, persistent ids) and torch/_utils.py (what a tensor
// is rebuilt from) of PyTorch 2.
#include "weights/torch_file.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "base/error.h"
#include "weights/named_tensors.h"
#include "weights/pickle.h"
#include "weights/stored.h"
#include "weights/zip_archive.h"

namespace quern {
namespace {

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr PickleName kKnown[] = {
    {"collections.OrderedDict", true},
    {kRebuildTensor},
    {kRebuildParameter},
    {"torch.DoubleStorage"},
    {"torch.FloatStorage"},
    {"torch.HalfStorage"},
    {"torch.BFloat16Storage"},
    {"torch.LongStorage"},
    {"torch.IntStorage"},
    {"torch.ShortStorage"},
    {"torch.CharStorage"},
    {"torch.ByteStorage"},
    {"torch.BoolStorage"},
};
constexpr std::pair<std::string_view, Stored> kStorages[] = {
    {"torch.DoubleStorage", Stored::f64},
    {"torch.FloatStorage", Stored::f32},
    {"torch.HalfStorage", Stored::f16},
    {"torch.BFloat16Storage", Stored::bf16},
    {"torch.LongStorage", Stored::i64},
    {"torch.IntStorage", Stored::i32},
    {"torch.ShortStorage", Stored::i16},
    {"torch.CharStorage", Stored::i8},
    {"torch.ByteStorage", Stored::u8},
    {"torch.BoolStorage", Stored::boolean},
};
constexpr int kMaxDepth = 16;
constexpr size_t kMaxVisits = size_t{1} << 21, kMaxTensors = size_t{1} << 18;
constexpr size_t kMaxName = 1024;
// Elements that do not lie in a row are copied: together at most so many times the file.
constexpr uint64_t kMaxCopies = 4;

// The files of the archive under the folder that all of them lie in.
class TorchArchive {
 public:
  explicit TorchArchive(std::span<const std::byte> file) {
    constexpr std::string_view kPickle = "data.pkl";
    for (ZipEntry& entry : read_zip_directory(file)) entries_.emplace(entry.name, entry);
    for (const auto& [name, entry] : entries_)
      if (const size_t slash = name.find('/'); name.substr(slash + 1) == kPickle)
        folder_ = name.substr(0, slash + 1);
    if (find(kPickle) == nullptr)
      fail(ErrorCode::unsupported, "a zip archive without data.pkl: no file of torch.save");
    if (const auto order = find("byteorder"); order != nullptr && text_of(*order) != "little")
      fail(ErrorCode::unsupported, "byte order {:.16}: expected little", text_of(*order));
  }

  std::span<const std::byte> bytes(std::string_view name) const {
    const ZipEntry* entry = find(name);
    if (entry == nullptr) fail(ErrorCode::data_loss, "{:.80} is missing in the archive", name);
    if (entry->is_deflated)
      fail(ErrorCode::unsupported,
           "{:.80} is compressed; torch.save stores files as they are",
           name);
    return entry->bytes;
  }

 private:
  const ZipEntry* find(std::string_view name) const {
    const auto found = entries_.find(folder_ + std::string(name));
    return found == entries_.end() ? nullptr : &found->second;
  }
  static std::string_view text_of(const ZipEntry& entry) {
    return {reinterpret_cast<const char*>(entry.bytes.data()), entry.bytes.size()};
  }

  std::string folder_;  // "archive/"
  std::map<std::string, ZipEntry, std::less<>> entries_;
};

struct TorchStorage {
  Stored stored = Stored::f32;
  std::span<const std::byte> bytes;
  int64_t elements = 0;
};

class StateDict {
 public:
  StateDict(const PickleTree& tree, const TorchArchive& archive, NamedTensors& out)
      : tree_(tree), archive_(archive), out_(out) {}

  void read() {
    uint32_t root = tree_.root;
    if (value(root).kind != PickleKind::dict)
      fail(ErrorCode::unsupported,
           "it holds a {}, expected a dict of tensors",
           name_of(value(root).kind));
    for (const std::string_view key : {"model", "state_dict"})
      if (const PickleValue* inner = find(root, key); inner != nullptr) {
        if (inner->kind != PickleKind::dict) continue;
        root = static_cast<uint32_t>(inner - tree_.values.data());
        break;
      }
    add_all(root, "", 0);
  }

 private:
  const PickleValue& value(uint32_t index) const { return tree_.values[index]; }

  const PickleValue* find(uint32_t dict, std::string_view key) const {
    const auto& items = value(dict).items;
    for (size_t i = 0; i < items.size(); i += 2)
      if (value(items[i]).kind == PickleKind::text && value(items[i]).text == key)
        return &value(items[i + 1]);
    return nullptr;
  }

  // Everything below a dict, list or tuple. What contains itself ends at a depth; what stands in
  // many places that stand in many places themselves, at a number of visits.
  void add_all(uint32_t group, const std::string& name, int depth) {
    if (depth > kMaxDepth)
      fail(ErrorCode::data_loss,
           "{:.200}: more than {} deep: it contains itself, or is no state dict",
           name,
           kMaxDepth);
    const PickleValue& v = value(group);
    const size_t step = v.kind == PickleKind::dict ? 2 : 1;
    visits_ += v.items.size() + 1;
    if (visits_ > kMaxVisits)
      fail(ErrorCode::data_loss, "{:.200}: the same values again and again", name);
    for (size_t i = 0; i < v.items.size(); i += step) {
      const uint32_t item = v.items[i + step - 1];
      const PickleKind kind = value(item).kind;
      const bool is_group = kind == PickleKind::dict || kind == PickleKind::list ||
                            (kind == PickleKind::tuple && !value(item).items.empty());
      if (!is_group && kind != PickleKind::call) continue;
      const std::string key = step == 2 ? key_text(value(v.items[i]), name) : format("{}", i);
      const std::string whole = name.empty() ? key : name + "." + key;
      if (whole.size() > kMaxName)
        fail(ErrorCode::data_loss, "{:.200}…: a name of {} characters", whole, whole.size());
      if (is_group)
        add_all(item, whole, depth + 1);
      else
        with_context(format("tensor {:.200}", whole), [&] { add_tensor(whole, value(item)); });
    }
  }

  static std::string key_text(const PickleValue& key, const std::string& below) {
    if (key.kind == PickleKind::integer) return format("{}", key.integer);
    if (key.kind != PickleKind::text)
      fail(ErrorCode::unsupported, "{:.200}: a key that is a {}", below, name_of(key.kind));
    return std::string(key.text);
  }

  std::string_view called(const PickleValue& call) const { return value(call.items[0]).text; }

  const PickleValue& argument(const PickleValue& call, size_t at, PickleKind kind) const {
    const auto& arguments = value(call.items[1]).items;
    if (at >= arguments.size() || value(arguments[at]).kind != kind)
      fail(ErrorCode::data_loss,
           "{}: argument {}: expected a {}, got {}",
           called(call),
           at,
           name_of(kind),
           at < arguments.size() ? name_of(value(arguments[at]).kind) : "none");
    return value(arguments[at]);
  }

  void add_tensor(const std::string& name, const PickleValue& call) {
    if (++tensors_ > kMaxTensors) fail(ErrorCode::data_loss, "more than {} tensors", kMaxTensors);
    if (called(call) == kRebuildParameter)
      return add_view(name, argument(call, 0, PickleKind::call));
    add_view(name, call);
  }

  void add_view(const std::string& name, const PickleValue& call) {
    if (called(call) != kRebuildTensor)
      fail(ErrorCode::data_loss, "expected a tensor, got a {}", called(call));
    const TorchStorage storage = storage_of(argument(call, 0, PickleKind::persistent));
    const auto offset = whole_number(argument(call, 1, PickleKind::integer));
    const auto sizes = whole_numbers(argument(call, 2, PickleKind::tuple));
    const auto strides = whole_numbers(argument(call, 3, PickleKind::tuple));
    if (sizes.size() != strides.size())
      fail(ErrorCode::data_loss, "{} sizes and {} strides", sizes.size(), strides.size());
    TensorInfo info{name, storage.stored, checked_shape(sizes, "sizes"), {}};
    place(std::move(info), storage, offset, strides);
  }

  uint64_t whole_number(const PickleValue& v) const {
    if (v.kind != PickleKind::integer || v.integer < 0)
      fail(ErrorCode::data_loss,
           "expected a whole number, got a {}: {}",
           name_of(v.kind),
           v.integer);
    return static_cast<uint64_t>(v.integer);
  }
  std::vector<uint64_t> whole_numbers(const PickleValue& tuple) const {
    std::vector<uint64_t> out;
    if (tuple.items.size() > Shape::kMaxRank)
      fail(ErrorCode::unsupported, "{} axes, the limit is {}", tuple.items.size(), Shape::kMaxRank);
    for (const uint32_t item : tuple.items) out.push_back(whole_number(value(item)));
    return out;
  }

  // ("storage", torch.FloatStorage, "0", "cpu", elements)
  TorchStorage storage_of(const PickleValue& persistent) const {
    const PickleValue& id = value(persistent.items[0]);
    constexpr std::array kKinds = {PickleKind::text, PickleKind::name, PickleKind::text};
    bool is_storage = id.kind == PickleKind::tuple && id.items.size() == 5;
    for (size_t i = 0; is_storage && i < kKinds.size(); ++i)
      is_storage = value(id.items[i]).kind == kKinds[i];
    if (!is_storage || value(id.items[0]).text != "storage")
      fail(ErrorCode::data_loss, "its persistent id names no storage");
    const auto kind = std::ranges::find(
        kStorages, value(id.items[1]).text, &std::pair<std::string_view, Stored>::first);
    if (kind == std::end(kStorages))
      fail(ErrorCode::data_loss, "{} is no storage", value(id.items[1]).text);
    TorchStorage out;
    out.stored = kind->second;
    const std::string_view key = value(id.items[2]).text.substr(0, kMaxName);
    const std::array elements = {whole_number(value(id.items[4]))};
    const Shape shape = checked_shape(elements, "storage");
    const auto bytes = static_cast<uint64_t>(stored_bytes(out.stored, shape, "storage"));
    out.bytes = archive_.bytes(format("data/{}", key));
    out.elements = shape.numel();
    if (bytes > out.bytes.size())
      fail(ErrorCode::data_loss,
           "storage {:.40}: {} {} elements take {} bytes, the archive holds {}",
           key,
           out.elements,
           name_of(out.stored),
           bytes,
           out.bytes.size());
    out.bytes = out.bytes.first(bytes);
    return out;
  }

  // Elements from the first of a view to behind its last.
  static uint64_t extent(const Shape& shape, std::span<const uint64_t> strides) {
    if (shape.numel() == 0) return 0;
    uint64_t last = 0;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      const uint64_t stride = strides[static_cast<size_t>(axis)];
      uint64_t reach = 0;
      if (__builtin_mul_overflow(static_cast<uint64_t>(shape[axis] - 1), stride, &reach) ||
          __builtin_add_overflow(last, reach, &last))
        return UINT64_MAX;
    }
    return last == UINT64_MAX ? last : last + 1;
  }

  static bool is_in_a_row(const Shape& shape, std::span<const uint64_t> strides) {
    uint64_t expected = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      if (shape[axis] != 1 && strides[static_cast<size_t>(axis)] != expected) return false;
      expected *= static_cast<uint64_t>(shape[axis]);
    }
    return true;
  }

  void place(TensorInfo info,
             const TorchStorage& storage,
             uint64_t offset,
             std::span<const uint64_t> strides) {
    const auto elements = static_cast<uint64_t>(storage.elements);
    const uint64_t reach = extent(info.shape, strides);
    if (offset > elements || reach > elements - offset)
      fail(ErrorCode::data_loss,
           "{} by strides [{}] from element {} reaches beyond a storage of {} elements",
           info.shape.text(),
           fmt::join(strides, ", "),
           offset,
           elements);
    const auto item = static_cast<size_t>(block_of(info.stored).bytes);
    const auto bytes = storage.bytes.subspan(offset * item, reach * item);
    if (info.shape.numel() == 0 || is_in_a_row(info.shape, strides))
      return out_.add(std::move(info), bytes);
    copied_ += static_cast<uint64_t>(info.shape.numel()) * item;
    if (info.shape.numel() > storage.elements || copied_ > kMaxCopies * out_.file().size())
      fail(
          ErrorCode::data_loss,
          "{} by strides [{}]: more elements than its storage holds, or one of too many such views",
          info.shape.text(),
          fmt::join(strides, ", "));
    out_.add_strided(std::move(info), {bytes, {strides.begin(), strides.end()}});
  }

  const PickleTree& tree_;
  const TorchArchive& archive_;
  NamedTensors& out_;
  size_t visits_ = 0, tensors_ = 0;
  uint64_t copied_ = 0;  // bytes of views whose elements do not lie in a row
};

}  // namespace

std::unique_ptr<Checkpoint> open_torch_file(const std::string& path) {
  return with_context(path, [&] {
    auto out = std::make_unique<NamedTensors>(MappedFile(path));
    if (!begins_as_zip(out->file()))
      fail(ErrorCode::unsupported,
           "no zip archive, as torch.save writes since version 1.6: if it is an older file, load "
           "and "
           "save it again with a newer torch");
    const TorchArchive archive(out->file());
    const PickleTree tree =
        with_context("data.pkl", [&] { return read_pickle(archive.bytes("data.pkl"), kKnown); });
    with_context("data.pkl", [&] { StateDict(tree, archive, *out).read(); });
    return out;
  });
}

}  // namespace quern

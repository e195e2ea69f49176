// SPDX-License-Identifier: Apache-2.0
// Source: onnx/onnx.proto3 of the ONNX project; its field numbers stand in the enumerations below.
#include "weights/onnx_file.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include "base/error.h"
#include "weights/named_tensors.h"
#include "weights/proto_reader.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr size_t kMaxParts = size_t{1} << 22;  // nodes, names, attributes, numbers and tensors
constexpr size_t kMaxName = 4096;

enum ModelField : uint32_t { kGraph = 7 };
enum GraphField : uint32_t { kNode = 1, kInitializer = 5, kSparseInitializer = 15 };
enum NodeField : uint32_t { kInput = 1, kOutput = 2, kNodeName = 3, kOp = 4, kAttribute = 5 };
enum AttributeField : uint32_t { kAttributeName = 1, kFloat = 2, kInt = 3, kInts = 8 };
enum TensorField : uint32_t {
  kDims = 1,
  kDataType = 2,
  kFloatData = 4,
  kInt32Data = 5,
  kInt64Data = 7,
  kTensorName = 8,
  kRawData = 9,
  kDoubleData = 10,
  kExternalData = 13,
  kDataLocation = 14,
};

struct ElementType {
  uint64_t id;  // TensorProto.DataType
  Stored stored;
  TensorField numbers;  // where its elements lie, if not in raw_data
};
constexpr ElementType kTypes[] = {
    {1, Stored::f32, kFloatData},
    {2, Stored::u8, kInt32Data},
    {3, Stored::i8, kInt32Data},
    {5, Stored::i16, kInt32Data},
    {6, Stored::i32, kInt32Data},
    {7, Stored::i64, kInt64Data},
    {9, Stored::boolean, kInt32Data},
    {10, Stored::f16, kInt32Data},
    {11, Stored::f64, kDoubleData},
    {16, Stored::bf16, kInt32Data},
};

std::string name_in(const ProtoField& field) {
  if (field.bytes.size() > kMaxName)
    fail(ErrorCode::data_loss,
         "{:.80}…: a name of {} characters, the limit is {}",
         field.text(),
         field.bytes.size(),
         kMaxName);
  return std::string(field.text());
}

// One TensorProto, as its fields come.
struct OnnxTensor {
  std::string name;
  std::vector<uint64_t> dims;
  uint64_t type = 0;
  std::optional<std::span<const std::byte>> raw;
  TensorField numbers = kRawData;                  // which field the numbers came in
  std::vector<std::span<const std::byte>> packed;  // lists of numbers
  std::vector<uint64_t> single;                    // numbers that came one by one
};

class OnnxReader {
 public:
  OnnxReader(NamedTensors& tensors, std::vector<OnnxNode>& nodes)
      : tensors_(tensors), nodes_(nodes) {}

  void read_model() {
    std::optional<std::span<const std::byte>> graph;
    ProtoReader reader(tensors_.file());
    while (const auto field = reader.next()) {
      if (!field->is(kGraph, ProtoWire::bytes)) continue;
      if (graph) fail(ErrorCode::data_loss, "two graphs");
      graph = field->bytes;
    }
    if (!graph) fail(ErrorCode::data_loss, "no graph: is this an .onnx file?");
    read_graph(*graph);
  }

 private:
  void count_part() {
    if (++parts_ > kMaxParts) fail(ErrorCode::data_loss, "more than {} parts", kMaxParts);
  }

  void read_graph(std::span<const std::byte> graph) {
    ProtoReader reader(graph);
    while (const auto field = reader.next()) {
      if (field->is(kNode, ProtoWire::bytes))
        with_context(format("node {}", nodes_.size()),
                     [&] { nodes_.push_back(read_node(field->bytes)); });
      else if (field->is(kInitializer, ProtoWire::bytes))
        with_context("initializer", [&] { add(read_tensor(field->bytes)); });
      else if (field->number == kSparseInitializer)
        fail(ErrorCode::unsupported, "sparse initializers");
    }
  }

  OnnxNode read_node(std::span<const std::byte> message) {
    count_part();
    OnnxNode node;
    ProtoReader reader(message);
    while (const auto field = reader.next()) {
      if (field->wire != ProtoWire::bytes) continue;
      count_part();
      if (field->number == kInput) node.inputs.push_back(name_in(*field));
      if (field->number == kOutput) node.outputs.push_back(name_in(*field));
      if (field->number == kNodeName) node.name = name_in(*field);
      if (field->number == kOp) node.op = name_in(*field);
      if (field->number == kAttribute) read_attribute(field->bytes, node);
    }
    return node;
  }

  void read_attribute(std::span<const std::byte> message, OnnxNode& node) {
    std::string name;
    std::optional<double> number;
    std::optional<std::vector<int64_t>> integers;
    ProtoReader reader(message);
    while (const auto field = reader.next()) {
      if (field->is(kAttributeName, ProtoWire::bytes)) name = name_in(*field);
      if (field->is(kFloat, ProtoWire::fixed32))
        number = std::bit_cast<float>(static_cast<uint32_t>(field->value));
      if (field->is(kInt, ProtoWire::varint))
        number = static_cast<double>(static_cast<int64_t>(field->value));
      if (field->number == kInts) {
        if (!integers) integers.emplace();
        for_numbers(*field, [&](uint64_t value) {
          count_part();
          integers->push_back(static_cast<int64_t>(value));
        });
      }
    }
    if (number) node.numbers[name] = *number;
    if (integers) node.integers[name] = std::move(*integers);
  }

  // A list of varints comes packed, or one field for each.
  template <typename Take>
  static void for_numbers(const ProtoField& field, Take&& take) {
    if (field.wire == ProtoWire::varint) return take(field.value);
    if (field.wire != ProtoWire::bytes)
      fail(ErrorCode::data_loss, "field {}: expected whole numbers", field.number);
    for (ProtoReader list(field.bytes); !list.is_at_end();) take(list.varint());
  }

  OnnxTensor read_tensor(std::span<const std::byte> message) {
    count_part();
    OnnxTensor out;
    ProtoReader reader(message);
    while (const auto field = reader.next()) {
      switch (field->number) {
        case kDims:
          for_numbers(*field, [&](uint64_t size) {
            if (out.dims.size() > Shape::kMaxRank) fail(ErrorCode::unsupported, "too many axes");
            out.dims.push_back(size);
          });
          break;
        case kDataType:
          out.type = field->value;
          break;
        case kTensorName:
          out.name = name_in(*field);
          break;
        case kRawData:
          out.raw = field->bytes;
          break;
        case kFloatData:
        case kInt32Data:
        case kInt64Data:
        case kDoubleData:
          take_numbers(*field, out);
          break;
        case kExternalData:
          fail_external(out.name);
        case kDataLocation:
          if (field->value == 1) fail_external(out.name);
          break;
        default:
          break;
      }
    }
    return out;
  }

  [[noreturn]] static void fail_external(const std::string& name) {
    fail(ErrorCode::unsupported,
         "{:.200}: its weights lie in another file (external data): save the model as one file",
         name);
  }

  void take_numbers(const ProtoField& field, OnnxTensor& tensor) {
    const auto number = static_cast<TensorField>(field.number);
    if (tensor.numbers != kRawData && tensor.numbers != number)
      fail(ErrorCode::data_loss, "{:.200}: numbers of two kinds", tensor.name);
    const ProtoWire alone = number == kFloatData    ? ProtoWire::fixed32
                            : number == kDoubleData ? ProtoWire::fixed64
                                                    : ProtoWire::varint;
    if (field.wire != ProtoWire::bytes && field.wire != alone)
      fail(ErrorCode::data_loss,
           "{:.200}: field {}: numbers of another kind",
           tensor.name,
           field.number);
    tensor.numbers = number;
    count_part();
    if (field.wire == ProtoWire::bytes)
      tensor.packed.push_back(field.bytes);
    else
      tensor.single.push_back(field.value);
    if (!tensor.packed.empty() && !tensor.single.empty())
      fail(ErrorCode::data_loss, "{:.200}: a list both packed and not", tensor.name);
  }

  void add(const OnnxTensor& tensor) {
    const auto type = std::ranges::find(kTypes, tensor.type, &ElementType::id);
    if (type == std::end(kTypes))
      fail(ErrorCode::unsupported,
           "{:.200}: elements of type {}; read are float32, float16, bfloat16, float64, int8, "
           "int16, int32, int64, uint8 and bool",
           tensor.name,
           tensor.type);
    TensorInfo info{tensor.name, type->stored, checked_shape(tensor.dims, tensor.name), {}};
    const auto wanted = static_cast<size_t>(stored_bytes(info.stored, info.shape, info.name));
    const std::span<const std::byte> bytes = tensor.raw ? *tensor.raw : elements(tensor, *type);
    if (bytes.size() != wanted || (tensor.raw && tensor.numbers != kRawData))
      fail(ErrorCode::data_loss,
           "{:.200}: {} {} takes {} bytes, found {}",
           info.name,
           name_of(info.stored),
           info.shape.text(),
           wanted,
           bytes.size());
    tensors_.add(std::move(info), bytes);
  }

  // Elements in a list of numbers. Packed floats lie in the file as they lie in memory.
  std::span<const std::byte> elements(const OnnxTensor& tensor, const ElementType& type) {
    if (tensor.numbers == kRawData) return {};  // no elements at all
    if (tensor.numbers != type.numbers)
      fail(ErrorCode::data_loss,
           "{:.200}: {} elements in field {}",
           tensor.name,
           name_of(type.stored),
           static_cast<uint32_t>(tensor.numbers));
    const bool is_fixed = type.numbers == kFloatData || type.numbers == kDoubleData;
    if (is_fixed && tensor.packed.size() == 1) return tensor.packed[0];
    const auto item = static_cast<size_t>(block_of(type.stored).bytes);
    std::vector<std::byte> out;
    const auto put = [&](uint64_t value) {
      if (!is_fixed && !fits(value, item))
        fail(ErrorCode::data_loss,
             "{:.200}: element {} is no {}",
             tensor.name,
             static_cast<int64_t>(value),
             name_of(type.stored));
      for (size_t i = 0; i < item; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
    };
    for (const uint64_t value : tensor.single) put(value);
    for (const std::span<const std::byte> list : tensor.packed) {
      if (is_fixed)
        out.insert(out.end(), list.begin(), list.end());
      else
        for (ProtoReader reader(list); !reader.is_at_end();) put(reader.varint());
    }
    return tensors_.keep(std::move(out));
  }

  // Whether all of the number stands in its lower `item` bytes, with or without a sign.
  static bool fits(uint64_t value, size_t item) {
    if (item == sizeof(value)) return true;
    const uint64_t above = value >> (8 * item - 1);
    return above <= 1 || above == UINT64_MAX >> (8 * item - 1);
  }

  NamedTensors& tensors_;
  std::vector<OnnxNode>& nodes_;
  size_t parts_ = 0;
};

}  // namespace

OnnxFile::OnnxFile(const std::string& path) {
  with_context(path, [&] {
    auto tensors = std::make_unique<NamedTensors>(MappedFile(path));
    OnnxReader(*tensors, nodes_).read_model();
    tensors_ = std::move(tensors);
  });
}

const TensorInfo* OnnxFile::find(std::string_view name) const {
  return tensors_->find(name);
}

std::vector<std::string> OnnxFile::names() const {
  return tensors_->names();
}

std::span<const std::byte> OnnxFile::bytes(std::string_view name) const {
  return tensors_->bytes(name);
}

const Config& OnnxFile::config() const {
  return tensors_->config();
}

int64_t OnnxFile::total_bytes() const {
  return tensors_->total_bytes();
}

}  // namespace quern

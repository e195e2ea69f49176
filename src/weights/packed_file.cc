// SPDX-License-Identifier: Apache-2.0
#include "weights/packed_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "weights/byte_reader.h"

namespace quern {
namespace {

constexpr int64_t kTensorAlignment = 64;           // what kernels ask for
constexpr int64_t kChunkBytes = int64_t{4} << 20;  // hashed by one thread
constexpr uint64_t kMaxName = 1 << 16;
constexpr uint64_t kMagic = 0x316b6361706e7271;  // "qrnpack1" in the file

struct Header {
  uint64_t magic = kMagic;
  uint64_t file_bytes = 0, index_begin = 0;
  Hash128 index_hash, key;
  uint64_t check = 0;  // hash of all above
};
static_assert(sizeof(Header) == 64);

uint64_t check_of(const Header& header) {
  return hash_bytes(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, check))).low;
}

struct Chunk {
  int64_t begin = 0, end = 0;  // in the file
  Hash128 hash;
};

int64_t aligned(int64_t at) {
  return (at + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

// visit(tensor, where it begins in the file), in order; returns where the data ends.
template <typename Visit>
int64_t place_tensors(std::span<const PackedEntry> entries, Visit&& visit) {
  int64_t at = sizeof(Header);
  for (const PackedEntry& entry : entries)
    for (const PackedPiece& piece : entry.pieces)
      for (const Tensor& t : piece.tensors) {
        at = aligned(at);
        visit(t, at);
        at += t.bytes();
      }
  return at;
}

// The index as bytes: the counterpart of ByteReader.
class ByteWriter {
 public:
  template <typename T>
  void number(T value) {
    raw(&value, sizeof value);
  }
  template <typename T>
  void list(const std::vector<T>& values) {
    number<uint64_t>(values.size());
    raw(values.data(), values.size() * sizeof(T));
  }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    raw(text.data(), text.size());
  }
  void append(const ByteWriter& other) { string({other.text_.data(), other.text_.size()}); }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(text_)); }

 private:
  void raw(const void* data, size_t size) { text_.append(static_cast<const char*>(data), size); }
  std::string text_;
};

template <typename T>
std::vector<T> read_list(ByteReader& in, std::string_view what) {
  const uint64_t count = in.count(sizeof(T), what);
  std::vector<T> out(count);
  if (count > 0)
    std::memcpy(out.data(), in.take(count * sizeof(T), what).data(), count * sizeof(T));
  return out;
}

// Type and shape; an undefined tensor has no type.
void write_form(ByteWriter& out, const Tensor& t) {
  out.number<uint8_t>(t.defined());
  if (!t.defined()) return;
  out.number(t.dtype());
  out.number<uint8_t>(static_cast<uint8_t>(t.rank()));
  for (int axis = 0; axis < t.rank(); ++axis) out.number<int64_t>(t.dim(axis));
}

struct Form {
  DType dtype;
  Shape shape;
};

std::optional<Form> read_form(ByteReader& in) {
  if (in.number<uint8_t>("form") == 0) return std::nullopt;
  Form out;
  out.dtype = in.number<DType>("type");
  const auto rank = in.number<uint8_t>("rank");
  if (rank > Shape::kMaxRank || out.dtype > DType::boolean)
    fail(ErrorCode::data_loss,
         "a tensor of type {} with {} axes",
         static_cast<int>(out.dtype),
         rank);
  constexpr int64_t kMost = int64_t{1} << 48;
  int64_t dims[Shape::kMaxRank] = {}, count = 1;
  for (int axis = 0; axis < rank; ++axis) {
    dims[axis] = in.number<int64_t>("size");
    if (dims[axis] < 0 || dims[axis] > kMost || (dims[axis] > 0 && count > kMost / dims[axis]))
      fail(ErrorCode::data_loss, "a tensor of {} along an axis", dims[axis]);
    count *= std::max<int64_t>(dims[axis], 1);
  }
  out.shape = Shape(std::span<const int64_t>(dims, rank));
  return out;
}

Tensor read_meta(ByteReader& in) {
  const std::optional<Form> form = read_form(in);
  return form ? Tensor::empty(form->shape, form->dtype, Device::meta()) : Tensor();
}

constexpr Tensor QuantMatrix::*kTensors[] = {&QuantMatrix::codes,
                                             &QuantMatrix::scales,
                                             &QuantMatrix::super_scales,
                                             &QuantMatrix::zeros,
                                             &QuantMatrix::minimums,
                                             &QuantMatrix::super_minimums};

// `previous` has the order that the part before had: bands of a matrix share one.
void write_part(ByteWriter& out, const QuantMatrix& w, const std::vector<int32_t>* previous) {
  for (const auto member : kTensors) write_form(out, w.*member);
  out.number(w.coding);
  out.number<int32_t>(w.code_bits);
  out.number(w.block_rows);
  out.number(w.block_cols);
  out.number(w.super_cols);
  out.number(w.offset);
  out.list(w.table);
  const bool is_same = previous != nullptr && *previous == w.column_order;
  out.number<uint8_t>(is_same);
  if (!is_same) out.list(w.column_order);
}

QuantMatrix read_part(ByteReader& in, const std::vector<int32_t>* previous) {
  QuantMatrix w;
  for (const auto member : kTensors) w.*member = read_meta(in);
  w.coding = in.number<Coding>("coding");
  w.code_bits = in.number<int32_t>("bits");
  w.block_rows = in.number<int64_t>("block");
  w.block_cols = in.number<int64_t>("block");
  w.super_cols = in.number<int64_t>("block");
  w.offset = in.number<Offset>("offset");
  w.table = read_list<float>(in, "table");
  const bool is_same = in.number<uint8_t>("order") != 0;
  if (is_same && previous != nullptr) w.column_order = *previous;
  if (!is_same) w.column_order = read_list<int32_t>(in, "order");
  if (!w.codes.defined() || w.codes.rank() != 2 || w.coding > Coding::table ||
      w.offset > Offset::minimum || w.code_bits < 1 || w.code_bits > 64 ||
      (w.coding != Coding::plain && w.code_bits > 16))
    fail(ErrorCode::data_loss, "a part that is no matrix");
  validate(w);
  return w;
}

void write_piece(ByteWriter& out, const PackedPiece& piece, int64_t& at) {
  out.number<uint64_t>(piece.parts.size());
  const std::vector<int32_t>* order = nullptr;
  for (const QuantMatrix& part : piece.parts) {
    write_part(out, part, order);
    order = &part.column_order;
  }
  out.number<uint64_t>(piece.tensors.size());
  for (const Tensor& t : piece.tensors) {
    write_form(out, t);
    at = aligned(at);
    out.number(at);
    at += t.bytes();
  }
}

ByteWriter index_of(std::span<const Chunk> chunks, std::span<const PackedEntry> entries) {
  ByteWriter out;
  out.list(std::vector<Chunk>(chunks.begin(), chunks.end()));
  out.number<uint64_t>(entries.size());
  int64_t at = sizeof(Header);
  for (const PackedEntry& entry : entries) {
    ByteWriter body;
    body.number(entry.squared_change);
    body.number(entry.squared_weight);
    body.number<uint64_t>(entry.pieces.size());
    for (const PackedPiece& piece : entry.pieces) write_piece(body, piece, at);
    out.string(entry.name);
    out.append(body);
  }
  return out;
}

struct ChunkSource {
  std::vector<Chunk> chunks;
  std::vector<const std::byte*> from;
  int64_t data_end = 0;
};

ChunkSource chunks_of(std::span<const PackedEntry> entries) {
  ChunkSource out;
  out.data_end = place_tensors(entries, [&](const Tensor& t, int64_t at) {
    QUERN_CHECK(t.is_contiguous() && (t.raw() != nullptr || t.bytes() == 0));
    for (int64_t begin = 0; begin < t.bytes(); begin += kChunkBytes) {
      const int64_t end = std::min(begin + kChunkBytes, t.bytes());
      out.chunks.push_back({at + begin, at + end, {}});
      out.from.push_back(t.raw() + begin);
    }
  });
  return out;
}

// 0 or what was wrong.
int write_at(int file, std::span<const std::byte> bytes, int64_t at) noexcept {
  while (!bytes.empty()) {
    const ssize_t count = pwrite(file, bytes.data(), bytes.size(), at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : EIO;
    bytes = bytes.subspan(static_cast<size_t>(count));
    at += count;
  }
  return 0;
}

void expect_written(int error, const std::string& path) {
  if (error == 0) return;
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  fail(is_full ? ErrorCode::exhausted : ErrorCode::unavailable,
       "{}: cannot write: {}",
       path,
       std::strerror(error));
}

}  // namespace

QuantMatrix on_meta(const QuantMatrix& w) {
  QuantMatrix out = w;
  for (const auto member : kTensors)
    if (const Tensor& t = w.*member; t.defined())
      out.*member = Tensor::empty(t.shape(), t.dtype(), Device::meta());
  return out;
}

int64_t packed_file_bytes(std::span<const PackedEntry> entries) {
  const ChunkSource source = chunks_of(entries);
  return source.data_end + static_cast<int64_t>(index_of(source.chunks, entries).bytes().size());
}

void write_packed_file(int file,
                       const std::string& path,
                       const Hash128& key,
                       std::span<const PackedEntry> entries,
                       ThreadPool& pool) {
  ChunkSource source = chunks_of(entries);
  // A full disk is known before anything is written, where the file system can say it.
  if (fallocate(file, 0, 0, std::max<int64_t>(source.data_end, 1)) != 0 && errno != EOPNOTSUPP)
    expect_written(errno, path);
  std::atomic<int> error{0};
  pool.parallel_for(
      static_cast<int64_t>(source.chunks.size()), 1, [&](int64_t begin, int64_t end, int) {
        for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end) && error == 0; ++i) {
          Chunk& chunk = source.chunks[i];
          const std::span bytes(source.from[i], static_cast<size_t>(chunk.end - chunk.begin));
          chunk.hash = hash_bytes(bytes);
          if (const int failed = write_at(file, bytes, chunk.begin); failed != 0) error = failed;
        }
      });
  expect_written(error, path);
  const ByteWriter index = index_of(source.chunks, entries);
  expect_written(write_at(file, index.bytes(), source.data_end), path);
  if (fdatasync(file) != 0) expect_written(errno, path);
  Header header;
  header.index_begin = static_cast<uint64_t>(source.data_end);
  header.file_bytes = header.index_begin + index.bytes().size();
  header.index_hash = hash_bytes(index.bytes());
  header.key = key;
  header.check = check_of(header);
  expect_written(write_at(file, std::as_bytes(std::span(&header, 1)), 0), path);
  if (fsync(file) != 0) expect_written(errno, path);
}

namespace {

Header read_header(std::span<const std::byte> file, const Hash128& key) {
  Header header;
  if (file.size() < sizeof header)
    fail(ErrorCode::data_loss, "{} bytes are no packed weights", file.size());
  std::memcpy(&header, file.data(), sizeof header);
  if (header.magic != kMagic || header.check != check_of(header) || header.key != key)
    fail(ErrorCode::data_loss, "the header is not what was written");
  if (header.file_bytes != file.size() || header.index_begin > file.size() ||
      header.index_begin < sizeof header)
    fail(ErrorCode::data_loss,
         "expected {} bytes, got {}: the file was cut",
         header.file_bytes,
         file.size());
  if (hash_bytes(file.subspan(header.index_begin)) != header.index_hash)
    fail(ErrorCode::data_loss, "the index is not what was written");
  return header;
}

// Tables of pages are filled in large steps: a fault for every sixteenth page would take as long as
// the hashes. Advice that is refused costs time, not correctness.
void populate(std::span<const std::byte> part) noexcept {
#ifdef MADV_POPULATE_READ
  constexpr uintptr_t kPage = 4096;
  const auto from = reinterpret_cast<uintptr_t>(part.data()) / kPage * kPage;
  const auto to = reinterpret_cast<uintptr_t>(part.data()) + part.size();
  madvise(reinterpret_cast<void*>(from), to - from, MADV_POPULATE_READ);
#else
  (void)part;
#endif
}

void verify(std::span<const std::byte> data, std::span<const Chunk> chunks, ThreadPool& pool) {
  for (const Chunk& chunk : chunks)
    if (chunk.begin < 0 || chunk.end < chunk.begin || chunk.end > static_cast<int64_t>(data.size()))
      fail(ErrorCode::data_loss, "a chunk [{}, {}) of {}", chunk.begin, chunk.end, data.size());
  std::atomic<int64_t> damaged{-1};
  const auto verify_some = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& chunk = chunks[static_cast<size_t>(i)];
      const auto part = data.subspan(static_cast<size_t>(chunk.begin),
                                     static_cast<size_t>(chunk.end - chunk.begin));
      populate(part);
      if (hash_bytes(part) != chunk.hash) damaged = i;
    }
  };
  pool.parallel_for(static_cast<int64_t>(chunks.size()), 1, verify_some);
  if (damaged < 0) return;
  const Chunk& chunk = chunks[static_cast<size_t>(damaged.load())];
  fail(ErrorCode::data_loss, "bytes [{}, {}) are not what was written", chunk.begin, chunk.end);
}

// A mapping as the storage of tensors.
struct MappedStorage {
  MappedFile file;
  Storage storage;
};

std::shared_ptr<Storage> map_storage(const std::string& path) {
  auto owner = std::make_shared<MappedStorage>(MappedStorage{MappedFile(path), {}});
  const std::span<const std::byte> bytes = owner->file.bytes();
  owner->storage = {
      const_cast<std::byte*>(bytes.data()), static_cast<int64_t>(bytes.size()), Device::cpu()};
  // What has to come from disk comes in huge pages; what was written in large steps lies in them.
  madvise(owner->storage.data, bytes.size(), MADV_HUGEPAGE);
  return {owner, &owner->storage};
}

}  // namespace

PackedFile::PackedFile(const std::string& path, const Hash128& key, ThreadPool& pool)
    : storage_(map_storage(path)) {
  with_context(path, [&] {
    const std::span<const std::byte> file(storage_->data, static_cast<size_t>(storage_->bytes));
    const Header header = read_header(file, key);
    data_end_ = static_cast<int64_t>(header.index_begin);
    ByteReader index(file.subspan(header.index_begin));
    const auto chunks = read_list<Chunk>(index, "chunks");
    const uint64_t count = index.count(2 * sizeof(uint64_t), "entries");
    for (uint64_t i = 0; i < count; ++i) {
      const std::string_view name = index.string(kMaxName, "name");
      const auto size = index.number<uint64_t>("entry");
      entries_.emplace(name, index.take(size, "entry"));
    }
    verify(file.first(header.index_begin), chunks, pool);
  });
}

PackedPiece PackedFile::read_piece(ByteReader& in, std::string_view name) const {
  PackedPiece out;
  const uint64_t parts = in.count(32, "parts");
  for (uint64_t i = 0; i < parts; ++i)
    out.parts.push_back(read_part(in, i > 0 ? &out.parts.back().column_order : nullptr));
  const uint64_t tensors = in.count(11, "tensors");
  for (uint64_t i = 0; i < tensors; ++i) {
    const std::optional<Form> form = read_form(in);
    const auto at = in.number<int64_t>("place");
    if (!form || at < 0 || at % kTensorAlignment != 0 || at > data_end_ ||
        bytes_of(form->dtype, form->shape.numel()) > data_end_ - at)
      fail(ErrorCode::data_loss, "{}: a tensor at {} of {}", name, at, data_end_);
    out.tensors.push_back(Tensor::over(storage_, at, form->shape, form->dtype));
  }
  return out;
}

std::optional<PackedEntry> PackedFile::find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  ByteReader in(found->second);
  PackedEntry out{.name = found->first, .pieces = {}};
  out.squared_change = in.number<double>("rounding");
  out.squared_weight = in.number<double>("rounding");
  const uint64_t pieces = in.count(16, "pieces");
  for (uint64_t i = 0; i < pieces; ++i) out.pieces.push_back(read_piece(in, name));
  return out;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// One file of packed weights: the tensors of a model as its kernels read them, to be mapped in at
// the next start instead of being packed anew.
//
//   header   64 bytes, written last
//   data     tensors, each at a multiple of 64
//   index    chunks of the data with their hashes, then entries by name
//
// It is for this machine and this program alone: the key says what it was made from.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "tensor/quant_matrix.h"

namespace quern {

class ByteReader;

// What was packed at one time: the parts that went in, by their shapes (on meta), and the tensors
// that came out.
struct PackedPiece {
  std::vector<QuantMatrix> parts;
  std::vector<Tensor> tensors;  // contiguous, on the CPU
};

// A packed weight.
struct PackedEntry {
  std::string name;
  std::vector<PackedPiece> pieces;                // stacked along N
  double squared_change = 0, squared_weight = 0;  // by rounding when it was packed
};

// Shapes and types of `w`, its table and its order of columns; no bytes.
QuantMatrix on_meta(const QuantMatrix& w);

// The bytes of the file that these entries make.
int64_t packed_file_bytes(std::span<const PackedEntry> entries);

// Writes to an open, empty file, in parallel on `pool`, without a copy of the tensors; waits until
// the disk has all. Throws exhausted where the disk is full, unavailable for other failures; `path`
// is for messages.
void write_packed_file(int file,
                       const std::string& path,
                       const Hash128& key,
                       std::span<const PackedEntry> entries,
                       ThreadPool& pool);

class PackedFile {
 public:
  // Maps the file and compares all bytes with their hashes, in parallel on `pool`. Throws
  // not_found; data_loss where it is cut, damaged or was made for another key.
  PackedFile(const std::string& path, const Hash128& key, ThreadPool& pool);

  // Its tensors are views of the mapping, which they keep alive: never written to. Nothing if there
  // is no entry of this name. Throws data_loss or internal for an entry that contradicts itself.
  std::optional<PackedEntry> find(std::string_view name) const;
  int64_t bytes() const { return storage_->bytes; }

 private:
  PackedPiece read_piece(ByteReader& in, std::string_view name) const;

  std::shared_ptr<Storage> storage_;  // the whole file
  int64_t data_end_ = 0;
  std::map<std::string, std::span<const std::byte>, std::less<>> entries_;
};

}  // namespace quern

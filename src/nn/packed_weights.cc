// SPDX-License-Identifier: Apache-2.0
#include "nn/packed_weights.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace quern {
namespace {

// Null if the tensors do not fit.
std::unique_ptr<ops::PackedWeight> restore_piece(const Ctx& ctx, const PackedPiece& piece) {
  std::unique_ptr<ops::PackedWeight> weight = ops::pack_weight(ctx, piece.parts);
  size_t next = 0;
  bool fits = true;
  weight->each_tensor([&](Tensor& t) {
    const size_t i = next++;
    fits = fits && i < piece.tensors.size() && piece.tensors[i].shape() == t.shape() &&
           piece.tensors[i].dtype() == t.dtype();
    if (fits) t = piece.tensors[i];
  });
  return fits && next == piece.tensors.size() ? std::move(weight) : nullptr;
}

// Null if it is no weight of this size.
std::unique_ptr<ops::PackedWeight> restore_pieces(const Ctx& ctx,
                                                  const PackedEntry& entry,
                                                  int64_t rows,
                                                  int64_t cols) {
  int64_t sum = 0;
  std::vector<std::unique_ptr<ops::PackedWeight>> pieces;
  for (const PackedPiece& piece : entry.pieces) {
    const auto is_other = [&](const QuantMatrix& part) { return part.cols() != cols; };
    if (piece.parts.empty() || std::ranges::any_of(piece.parts, is_other)) return nullptr;
    pieces.push_back(restore_piece(ctx, piece));
    if (pieces.back() == nullptr) return nullptr;
    sum += pieces.back()->rows();
  }
  return sum == rows && !pieces.empty() ? ops::stack_weights(std::move(pieces)) : nullptr;
}

}  // namespace

std::unique_ptr<ops::PackedWeight> PackedWeights::restore(const Ctx& ctx,
                                                          int64_t rows,
                                                          int64_t cols,
                                                          PackedEntry& entry) {
  try {
    if (std::optional<PackedEntry> found = stored ? stored->find(entry.name) : std::nullopt) {
      std::unique_ptr<ops::PackedWeight> weight = restore_pieces(ctx, *found, rows, cols);
      if (weight == nullptr)
        fail(ErrorCode::data_loss, "not what the kernels of this start expect");
      entry = std::move(*found);
      return weight;
    }
  } catch (const Error& e) {
    log(LogLevel::warn, "packed cache: {}: {}; it is packed anew", entry.name, e.what());
  }
  is_new = true;
  return nullptr;
}

}  // namespace quern

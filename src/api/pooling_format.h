// SPDX-License-Identifier: Apache-2.0
// What becomes of the rows that the engine pooled, and how answers show them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "api/answer_format.h"
#include "nn/pooling.h"

namespace quern {

using Vector = std::vector<float>;

// Cut to `size` values (0: all), then brought to length 1 if asked for. A vector of zeros stays
// one.
Vector embedding_of(Vector pooled, int64_t size, bool is_normalized);
// Scores through the activation.
Vector classes_of(Vector scores, ScoreActivation activation);
// Of the angle between two vectors, computed in float64; 0 where one of them is all zeros.
double cosine(std::span<const float> a, std::span<const float> b);

struct RankedDocument {
  size_t index = 0;  // in the request
  double score = 0;
};
// Best first, of equal ones the earlier one; the first `top_n` of them (0: all).
std::vector<RankedDocument> ranked(std::span<const double> scores, size_t top_n);

// Bodies. Floats are written as short as they can be read back exactly.
std::string embeddings_body(const AnswerHeader& header,
                            std::span<const Vector> vectors,
                            bool is_base64,
                            const Usage& usage);
std::string classes_body(const AnswerHeader& header,
                         std::span<const Vector> classes,
                         const std::vector<std::string>& labels,
                         const Usage& usage);
std::string scores_body(const AnswerHeader& header,
                        std::span<const double> scores,
                        const Usage& usage);
// `documents`: their texts by index; empty: they are not shown.
std::string ranking_body(const AnswerHeader& header,
                         std::span<const RankedDocument> ranking,
                         const std::vector<std::string>& documents,
                         const Usage& usage);

// RFC 4648, with padding.
std::string base64_of(std::span<const std::byte> bytes);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// What a model is run on to learn what its layers read: tokens, and pictures among them.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "media/media_input.h"

namespace quern {

struct CalibrationSequence {
  // The encoder rows of `media` stand in the places of as many tokens, from first_token on.
  struct Picture {
    std::shared_ptr<const MediaInput> media;
    int32_t first_token = 0;
  };

  CalibrationSequence() = default;
  explicit CalibrationSequence(std::vector<int32_t> text) : ids(std::move(text)) {}

  std::vector<int32_t> ids;        // [T]
  std::vector<int32_t> positions;  // [A, T] row-major; empty: 0, 1, … T - 1 on every axis
  std::vector<Picture> pictures;   // ascending
};

}  // namespace quern

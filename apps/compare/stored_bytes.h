// SPDX-License-Identifier: Apache-2.0
// What a checkpoint's bytes on disk are.
#pragma once

#include <string_view>

#include "base/json.h"
#include "weights/checkpoint.h"

namespace quern::compare {

// Of a tensor by its published name: "embeddings", "head", "attention", "mlp", "experts", "tower"
// (of pictures or sound), "norms" or "other".
std::string_view kind_of(std::string_view tensor);

// {"embeddings": bytes, …} of the kinds that there are.
Json bytes_by_kind(const Checkpoint& checkpoint);

}  // namespace quern::compare

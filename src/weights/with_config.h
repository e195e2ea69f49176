// SPDX-License-Identifier: Apache-2.0
// The tensors of one checkpoint under another configuration: a file that has none of its own, or a
// changed one.
#pragma once

#include <memory>

#include "weights/checkpoint.h"

namespace quern {

std::unique_ptr<Checkpoint> with_config(std::shared_ptr<const Checkpoint> tensors, Config config);

}  // namespace quern

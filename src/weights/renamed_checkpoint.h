// SPDX-License-Identifier: Apache-2.0
// A checkpoint seen under Llama's names: tensors renamed, and those that are stored in one told
// apart, by a NameMap. Nothing is copied.
#pragma once

#include <memory>
#include <string>

#include "weights/checkpoint.h"

namespace quern {

// The tensors of `stored` under the names that their family needs. A file of names (`names_file`,
// else quern_names.json in `folder`, if it is there) may change config.json and place tensors; for
// model_type "spark" the built-in schemes are tried. Every tensor must then have a place; other
// families without a file of names come back as they are. Throws data_loss or unsupported naming
// the first tensors that have none, the layout that nothing states, or the tensor whose rows do not
// add up; what to write where.
std::unique_ptr<Checkpoint> with_published_names(std::unique_ptr<Checkpoint> stored,
                                                 const std::string& folder,
                                                 const std::string& names_file = {});

}  // namespace quern

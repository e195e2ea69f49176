// SPDX-License-Identifier: Apache-2.0
// A file written by torch.save that holds a state dict, read without running anything in it.
#pragma once

#include <memory>
#include <string>

#include "weights/checkpoint.h"

namespace quern {

// The tensors of a dict {name: tensor} under their names as stored, or of the dict under "model" or
// "state_dict" in such a dict. What lies deeper joins its names by dots; what is no tensor is left
// out. config() is empty. Tensors are borrowed from the mapped file; those whose elements do not
// lie in a row are copied when they are first asked for, and the copy lives as long as the
// checkpoint.
//
// The file is a zip archive of stored files: a pickle, and the bytes of each storage. The pickle is
// read as data (pickle.h): nothing in it is ever run, and a name that no state dict needs is
// refused (unsupported, naming it). Throws data_loss for what is damaged, contains itself or
// asks for more than the file could hold, and unsupported for the formats of torch before 1.6.
std::unique_ptr<Checkpoint> open_torch_file(const std::string& path);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// A file written by torch.save that holds a state dict, read without running anything in it.
#pragma once

#include <memory>
#include <string>

#include "weights/checkpoint.h"

namespace quern {

// The tensors of a dict {name: tensor}, or of the one under "model" or "state_dict" in such a dict,
// under their names as stored; dicts inside a dict join their names by dots, what is neither
// tensor nor number is left out, and a number is a tensor without axes. config() is empty. Tensors
// are borrowed from the mapped file; those that are not contiguous are copied when they are first
// asked for, and the copy lives as long as the checkpoint.
//
// The file is a zip archive of stored entries with a pickle in it. The pickle is read by a machine
// that knows the few operations and names a state dict needs, and makes nothing but values: any
// other name is refused (unsupported, naming it). Throws data_loss for what is damaged, repeats
// itself without end or asks for more than the file could hold, and unsupported for the older
// format without an archive.
std::unique_ptr<Checkpoint> open_torch_file(const std::string& path);

}  // namespace quern

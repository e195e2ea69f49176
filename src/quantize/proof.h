// SPDX-License-Identifier: Apache-2.0
// What shows that a padded checkpoint is its source: the stored bytes, the decoded values, the
// logits.
#pragma once

#include <map>
#include <string>

#include "quantize/certificate.h"
#include "quantize/source_folder.h"

namespace quern {

// Every tensor of `source` against `repaired`: unchanged ones byte for byte; padded ones, their
// added entries taken out again, byte for byte (codes, scales and zero points are bytes). Then each
// padded layer of both, decoded: what was kept is bit for bit the same, what was added exactly
// zero. Adds counts to certificate.findings. Throws data_loss naming the tensor.
void prove_tensors(const SourceFolder& source,
                   const Checkpoint& repaired,
                   Certificate& certificate);

// Both models run on fixed prompts in float32, one after the other. Adds the largest difference to
// findings, or why it was not compared (an unknown architecture, too little memory). Throws
// data_loss beyond the bound.
void prove_logits(const std::string& source, const std::string& repaired, Certificate& certificate);

}  // namespace quern

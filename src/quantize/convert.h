// SPDX-License-Identifier: Apache-2.0
// Convert: the same 4-bit weights in another tool's layout, where that is exact: AWQ, GPTQ,
// compressed-tensors.
#pragma once

#include <map>
#include <string>

namespace quern {

struct ConvertRequest {
  std::string model, out;  // folders; `out` must not exist
  std::string to;          // "awq", "gptq", "compressed-tensors"
  bool checks_logits = true;
};

// Reads every layer once to learn whether `to` can say it exactly, then writes `out` as repair()
// does: under another name until it is proved. Each converted layer, decoded, is bit for bit the
// source's. Returns what was found. Throws unsupported naming what would not be exact, and what
// repair() throws.
std::map<std::string, std::string> convert(const ConvertRequest& request);

}  // namespace quern

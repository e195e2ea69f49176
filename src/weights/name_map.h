// SPDX-License-Identifier: Apache-2.0
// NameMap: what the tensors of a checkpoint are called, and which of them are stored in one. Read
// from a file beside the weights (quern_names.json), or one of the schemes that are built in.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weights/config.h"
#include "weights/name_pattern.h"

namespace quern {

// How one stored tensor holds the rows of several.
enum class StackedRows : uint8_t {
  one,          // it holds one
  in_order,     // one behind the other
  by_kv_group,  // q, k and v of the first KV head, then of the second, …
  gate_up,      // built in: config.json's gate_up_order says which comes first
  qkv,          // built in: config.json's qkv_layout says which of the two it is
};

struct TensorRule {
  NamePattern from;
  std::vector<NamePattern> to;  // Llama's names; empty: the tensor is left out
  StackedRows rows = StackedRows::one;
};

inline constexpr const char* kRulesKey = "quern_names";

struct NameMap {
  std::string name;               // in messages: "llama", or the file's path
  std::vector<TensorRule> rules;  // the first that matches holds
};

// A file that states names, keys of config.json, or both.
struct NameFile {
  NameMap map;  // rules of the file, in front of Llama's own names
  bool has_rules = false;
  // An object: keys that replace those of config.json; null removes one. The rules stand under
  // kRulesKey: packed weights of other rules must not be taken for these.
  std::shared_ptr<const Json> changes;
};

// Reads a mapping file (docs/models/spark.md). Throws not_found, or data_loss naming the rule and
// what was expected.
NameFile read_name_file(const std::string& path);

// The names that checkpoints of the spark family may have, tried in this order: Llama's, those of
// older iFlytek models, those of Megatron and ChatGLM.
const std::vector<NameMap>& spark_name_maps();

// Whether a decoder of Llama's layout has a tensor of this name, biases counted: "lm_head.weight".
// Parts other than weight and bias (of quantized matrices) are known where `takes_parts`.
bool is_decoder_tensor(std::string_view name, bool takes_parts);

}  // namespace quern

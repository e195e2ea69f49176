// SPDX-License-Identifier: Apache-2.0
// CompressedTargets: what compressed-tensors states in config_groups and ignore: which modules are
// quantized, and how.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "weights/formats/scale_grid.h"
#include "weights/quantization_config.h"

namespace quern {

// How one group of modules is stored.
struct CompressedScheme {
  std::string format;  // "pack-quantized", …, lower case; empty if not stated
  std::optional<int> bits;
  bool is_float = false;
  std::optional<BlockSize> block;  // by strategy and group_size
  bool has_column_order = false;   // actorder "group"
};

// Module names as `targets` and `ignore` give them: a class, a whole name, or "re:" and a pattern.
class ModuleList {
 public:
  ModuleList() = default;
  ModuleList(const std::vector<std::string>& entries, std::string_view where);
  bool names(std::string_view module) const;
  bool matches(std::string_view module) const;  // a pattern does
  // Of classes only Linear is known: every module but embeddings and routers, told by their names.
  bool has_class_of(std::string_view module) const;
  bool holds(std::string_view module) const {
    return names(module) || has_class_of(module) || matches(module);
  }

 private:
  std::set<std::string, std::less<>> names_;
  std::vector<ModulePattern> patterns_;
};

class CompressedTargets {
 public:
  // `fields` is the quantization_config. Throws data_loss or unsupported naming the key.
  explicit CompressedTargets(const Config& fields);

  // Null: stated to be stored as plain floats, being ignored or the target of no group. A name is
  // stronger than a pattern, a pattern stronger than a class.
  const CompressedScheme* scheme_of(std::string_view module) const;

 private:
  struct Group {
    ModuleList targets;
    CompressedScheme scheme;
  };
  std::vector<Group> groups_;
  ModuleList ignored_;
};

// What is stated of a module: null where nothing is, or that it is plain. Throws unsupported for a
// format that this build does not read, by name.
const CompressedScheme* compressed_scheme(const Checkpoint& checkpoint, std::string_view prefix);

// A warning where a module that is stored quantized is stated not to be (by any method), and where
// one that is stored as plain floats is a target of compressed-tensors.
void warn_if_stated_plain(const Checkpoint& checkpoint, std::string_view prefix);
void warn_if_stated_quantized(const Checkpoint& checkpoint, std::string_view prefix);

// Whether the module is a Linear in its model, as far as its name tells.
bool is_linear_name(std::string_view module);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Python's pickle format, protocols 2 to 5, as far as a dict of tensors needs it, read as a tree of
// values. Nothing in it is ever run: a call is kept as its name and arguments, and only names that
// the caller knows are let in. Source: the tables in CPython's Lib/pickletools.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace quern {

enum class PickleKind : uint8_t {
  none,
  boolean,
  integer,
  real,  // kept without its value
  text,
  tuple,
  list,
  dict,
  name,        // of a class or function
  call,        // of a name
  persistent,  // stands for something outside of the pickle
};
std::string_view name_of(PickleKind kind);

struct PickleValue {
  PickleKind kind = PickleKind::none;
  int64_t integer = 0;    // of booleans and integers
  std::string_view text;  // of texts, in the pickle itself; of names "module.name"
  // Indices of values. Of a dict: key, value, key, value …; of a call: its name, its tuple of
  // arguments; of something persistent: what identifies it.
  std::vector<uint32_t> items;
};

// A value may be in several places, and may contain itself.
struct PickleTree {
  std::vector<PickleValue> values;
  uint32_t root = 0;
};

// A name that may stand in a pickle.
struct PickleName {
  std::string_view name;    // "collections.OrderedDict"; lives as long as the tree
  bool makes_dict = false;  // a call of it without arguments is an empty dict
};

// Throws data_loss for a pickle that is damaged, unsupported for operations that no dict of tensors
// needs and for every name that is not among `known`, naming it. Values are limited to 2 millions.
PickleTree read_pickle(std::span<const std::byte> pickle, std::span<const PickleName> known);

}  // namespace quern

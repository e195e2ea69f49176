// SPDX-License-Identifier: Apache-2.0
// FieldNotes: which fields of a request are served. For tests that hold descriptions of requests
// against their readers.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace quern {

// While one lives, it notes what the FieldReaders of its thread look up and neither refuse nor
// ignore.
class FieldNotes {
 public:
  FieldNotes();
  ~FieldNotes();
  FieldNotes(const FieldNotes&) = delete;
  FieldNotes& operator=(const FieldNotes&) = delete;

  void add(std::string name) { names_.insert(std::move(name)); }
  // Sorted, each once.
  std::vector<std::string> names() const { return {names_.begin(), names_.end()}; }

 private:
  std::set<std::string> names_;
};

}  // namespace quern

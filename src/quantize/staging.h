// SPDX-License-Identifier: Apache-2.0
// Staging: the folder OUT.part in which a checkpoint is made before it takes the name OUT. One
// process at a time; what an interrupted one finished is kept.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/hash.h"

namespace quern {

struct FileMark {
  int64_t bytes = 0;
  std::string hash;  // XXH3, 128 bits, in hex
  bool operator==(const FileMark&) const = default;
};
FileMark mark_of(const std::string& path);

class Staging {
 public:
  // Throws invalid_argument where OUT exists, unavailable where another process works on it. `key`
  // names source and settings: what a run of another key left is discarded, with a warning.
  Staging(const std::string& out, const std::string& key);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const std::string& folder() const { return part_; }
  // Throws exhausted unless the disk has room for `bytes` more.
  void expect_room(int64_t bytes) const;
  // Whether an earlier run finished this file, and it is still what it was.
  bool is_finished(const std::string& file) const;
  void set_finished(const std::string& file);
  // Removes a file that was finished and is no longer wanted.
  void forget(const std::string& file);
  const std::map<std::string, FileMark>& finished() const { return finished_; }
  // OUT.part becomes OUT.
  void publish();
  // Nothing is left.
  void discard();

 private:
  void resume();
  void save() const;

  std::string out_, part_, key_;
  int lock_ = -1;
  std::map<std::string, FileMark> finished_;
};

// Carries a file over: linked where it is large and the disk allows it, else copied.
void carry_file(const std::string& from, const std::string& to);
// Regular files beneath `folder`, as relative paths, sorted; without hidden ones.
std::vector<std::string> files_beneath(const std::string& folder);

}  // namespace quern

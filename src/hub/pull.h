// SPDX-License-Identifier: Apache-2.0
// Fetches a model into the Hugging Face cache: several files at one time, each continued where it
// was cut, each held to its hash. Links and refs are made when all files are there, so a revision
// that can be found is whole.
#pragma once

#include <string>

#include "hub/file_choice.h"
#include "hub/hub_api.h"

namespace quern {

struct PullOptions {
  HubId id;
  FileWish wish;
  std::string cache;
  int jobs = 8;
  bool only_looks = false;  // chooses and counts, fetches nothing
  HubOptions hub;
};

// What is to be done, before it is.
struct PullPlan {
  std::string commit;
  FileChoice choice;
  int64_t total_bytes = 0;    // of all files that are wanted
  int64_t present_bytes = 0;  // of these: here already, in whole files and cut ones
};

// Told how a pull goes, from several threads, one at a time.
class PullWatcher {
 public:
  virtual ~PullWatcher() = default;
  virtual void planned(const PullPlan&) {}
  virtual void advanced(int64_t bytes) = 0;  // negative: bytes that turned out to be wrong
  virtual void finished(const RepoFile&) {}
  virtual void retrying(const std::string& what, int64_t pause_ms) = 0;
};

struct PulledModel {
  std::string folder;  // the snapshot
  std::string commit;
  int64_t fetched_bytes = 0;
};

// Throws not_found, unavailable (another pull of it runs; the hub does not answer), exhausted (the
// disk), data_loss (what arrives is not what was announced), cancelled.
PulledModel pull_model(const PullOptions& options, PullWatcher& watcher);

}  // namespace quern

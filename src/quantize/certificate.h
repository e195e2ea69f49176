// SPDX-License-Identifier: Apache-2.0
// Certificate: quern-repair.json, what was done to a checkpoint, what proved it, and all that is
// needed to take it back.
#pragma once

#include <map>
#include <string>

#include "base/json.h"
#include "quantize/mlp_rules.h"
#include "quantize/staging.h"

namespace quern {

struct FilePair {
  FileMark before, after;
};

struct Certificate {
  std::string tool;    // "quern 0.1.0"
  std::string source;  // the path as it was given
  int64_t intermediate = 0, padded = 0, granule = 1, modules = 0;
  bool is_interleaved = false;
  Runs runs;
  std::map<std::string, PaddingRule, std::less<>> rules;  // by canonical name
  std::map<std::string, FilePair> files;                  // those that changed
  std::map<std::string, FileMark> carried;                // those that did not
  std::map<std::string, std::string> originals;  // config, index: the text; weights: the header
  // What proof() and the comparison of logits found.
  std::map<std::string, std::string> findings;

  std::string text() const;
  // Throws data_loss naming the file.
  static Certificate read(const std::string& path);
};

}  // namespace quern

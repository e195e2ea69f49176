// SPDX-License-Identifier: Apache-2.0
// Report: what `quern verify` found, field by field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace quern {

enum class Verdict : uint8_t {
  holds,
  differs,
  unsupported,  // this build or mode cannot compute it
  unreadable,   // the case itself is damaged
  not_judged,   // stated, but no verdict: an unknown field, or one that this mode does not bind
};
std::string_view name_of(Verdict verdict);

struct Finding {
  std::string field;  // "one_image.logits"
  Verdict verdict = Verdict::not_judged;
  double error = 0,
         allowed = 0;  // largest difference and its bound; 0, 0 for fields that are equal or not
  int64_t count = 0;   // values or rows compared
  std::string note;
};

class Report {
 public:
  // `only`: judge these fields alone (a field's last part, "logits", or its whole name); empty:
  // all.
  explicit Report(std::vector<std::string> only) : only_(std::move(only)) {}

  bool wants(std::string_view field) const;
  void add(Finding finding);
  // Rows or values that are equal or not: the note names the first that is not.
  void add_exact(std::string field,
                 int64_t compared,
                 int64_t different,
                 std::string first_difference);
  void add_error(std::string field, const Error& error);
  // The same for what keeps wanted fields from being judged: said whatever `only` names.
  void add_obstacle(std::string field, const Error& error);

  const std::vector<Finding>& findings() const { return findings_; }
  // 0: every comparison holds and there is one; 1: something differs; 3: a part is unsupported or
  // unreadable.
  int exit_code() const;
  std::string text() const;
  std::string json(std::string_view folder) const;

 private:
  int64_t count(Verdict verdict) const;

  std::vector<std::string> only_;
  std::vector<Finding> findings_;
};

// Judges `field` by `body`, if it is wanted; an Error that leaves the body becomes a finding.
template <typename Body>
void judge_field(Report& report, const std::string& field, Body&& body) {
  if (!report.wants(field)) return;
  try {
    body();
  } catch (const Error& error) {
    report.add_error(field, error);
  }
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// AnswerStream: the deltas of a generation → the JSON texts of a streamed answer, in order.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "api/answer_format.h"
#include "api/generation.h"

namespace quern {

class AnswerStream {
 public:
  // All must outlive the stream. `shows_tokens`: chunks carry scores or ids, so a token without
  // text is sent too.
  AnswerStream(const AnswerFormat& format,
               const StreamOptions& options,
               const Generation& generation,
               bool shows_tokens);

  // What to send for new deltas. Once a choice has failed, the last text is the error, and nothing
  // more is to be sent.
  std::vector<std::string> chunks(std::span<const Generation::IndexedDelta> deltas);
  bool has_failed() const { return has_failed_; }
  // What to send at the end; empty: nothing.
  std::string closing() const;

 private:
  void add(int index, const TextDelta& delta, std::vector<std::string>& out);

  const AnswerFormat& format_;
  const StreamOptions options_;
  const Generation& generation_;
  const bool shows_tokens_;
  std::vector<bool> is_open_;  // per choice: its opening was sent
  bool has_failed_ = false;
};

}  // namespace quern

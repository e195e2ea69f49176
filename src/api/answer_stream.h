// SPDX-License-Identifier: Apache-2.0
// AnswerStream: the deltas of a generation → the events of a streamed answer, in order.
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
  AnswerStream(AnswerFormat& format,
               const StreamOptions& options,
               const Generation& generation,
               bool shows_tokens);

  // What to send for new deltas; the first call adds the beginning of the stream, so it may be made
  // without any. Once a choice has failed, the last events are the error, and nothing more is to be
  // sent.
  ServerEvents events(std::span<const Generation::IndexedDelta> deltas);
  bool has_failed() const { return has_failed_; }
  // What to send at the end of an answer that has not failed.
  ServerEvents closing();

 private:
  void add(int index, const TextDelta& delta, ServerEvents& out);

  AnswerFormat& format_;
  const StreamOptions options_;
  const Generation& generation_;
  const bool shows_tokens_;
  std::vector<bool> is_open_;  // per choice: its opening was sent
  bool has_begun_ = false, has_failed_ = false;
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/answer_blocks.h"

#include <utility>

namespace quern {

std::vector<BlockStep> AnswerBlocks::push(const TextDelta& delta) {
  std::vector<BlockStep> out;
  if (!delta.reasoning.empty()) {
    turn_to(BlockKind::reasoning, out);
    add(delta.reasoning, out);
  }
  // A token may end inside a character: its score waits for the text.
  const bool is_text = !delta.text.empty();
  const bool is_inside =
      delta.shows_nothing() && !(is_open_ && blocks_.back().kind != BlockKind::text);
  if (is_text || is_inside)
    waiting_.insert(waiting_.end(), delta.scores.begin(), delta.scores.end());
  if (is_text) {
    turn_to(BlockKind::text, out);
    add(delta.text, out);
    auto& scores = blocks_.back().scores;
    scores.insert(scores.end(), waiting_.begin(), waiting_.end());
    out.back().scores = std::exchange(waiting_, {});
  }
  for (const ToolCallDelta& call : delta.tool_calls) add_call(call, out);
  if (delta.finish != FinishReason::none) close(out);
  return out;
}

void AnswerBlocks::turn_to(BlockKind kind, std::vector<BlockStep>& out) {
  if (is_open_ && blocks_.back().kind == kind) return;
  close(out);
  blocks_.push_back({.kind = kind, .text = {}, .call = {}, .name = {}, .scores = {}});
  is_open_ = true;
  out.push_back(
      {.what = BlockStep::What::open, .index = blocks_.size() - 1, .piece = {}, .scores = {}});
}

void AnswerBlocks::add(const std::string& piece, std::vector<BlockStep>& out) {
  blocks_.back().text += piece;
  out.push_back(
      {.what = BlockStep::What::add, .index = blocks_.size() - 1, .piece = piece, .scores = {}});
}

void AnswerBlocks::add_call(const ToolCallDelta& delta, std::vector<BlockStep>& out) {
  const bool is_next =
      !is_open_ || blocks_.back().kind != BlockKind::tool_call || delta.index != last_call_;
  if (is_next) {
    close(out);
    blocks_.push_back({.kind = BlockKind::tool_call,
                       .text = {},
                       .call = delta.id,
                       .name = delta.name,
                       .scores = {}});
    is_open_ = true;
    last_call_ = delta.index;
    out.push_back(
        {.what = BlockStep::What::open, .index = blocks_.size() - 1, .piece = {}, .scores = {}});
  }
  if (!delta.arguments.empty()) add(delta.arguments, out);
}

void AnswerBlocks::close(std::vector<BlockStep>& out) {
  if (!is_open_) return;
  is_open_ = false;
  out.push_back(
      {.what = BlockStep::What::close, .index = blocks_.size() - 1, .piece = {}, .scores = {}});
}

}  // namespace quern

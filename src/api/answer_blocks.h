// SPDX-License-Identifier: Apache-2.0
// AnswerBlocks: the deltas of one answer → a row of blocks: reasoning, text, tool calls. A block is
// opened, filled and closed before the next one opens, as the dialects with typed blocks show it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/stream_assembler.h"

namespace quern {

enum class BlockKind : uint8_t { reasoning, text, tool_call };

struct AnswerBlock {
  BlockKind kind = BlockKind::text;
  std::string text;                 // of a tool call: the JSON text of its arguments
  std::string call, name;           // of a tool call: its id and the function
  std::vector<TokenScores> scores;  // of a text, if asked for
};

struct BlockStep {
  enum class What : uint8_t { open, add, close };
  What what = What::open;
  size_t index = 0;                 // of the block
  std::string piece;                // add
  std::vector<TokenScores> scores;  // add, of a text
};

class AnswerBlocks {
 public:
  // What the next delta does, in order. A delta that ends the answer closes the last block.
  std::vector<BlockStep> push(const TextDelta& delta);
  const std::vector<AnswerBlock>& blocks() const { return blocks_; }
  const AnswerBlock& at(size_t index) const { return blocks_[index]; }
  bool has_tool_calls() const { return last_call_ >= 0; }

 private:
  void turn_to(BlockKind kind, std::vector<BlockStep>& out);
  void add(const std::string& piece, std::vector<BlockStep>& out);
  void add_call(const ToolCallDelta& delta, std::vector<BlockStep>& out);
  void close(std::vector<BlockStep>& out);

  std::vector<AnswerBlock> blocks_;
  std::vector<TokenScores> waiting_;  // of tokens that have shown no text yet
  bool is_open_ = false;
  int last_call_ = -1;  // ToolCallDelta::index of the last tool call
};

}  // namespace quern

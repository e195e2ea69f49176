// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/behind_thoughts.h"

#include <gtest/gtest.h>

#include "sampling/grammar/grammar_compiler.h"

namespace quern {
namespace {

// Tokens are bytes and one end; these two stand for special ones.
constexpr int32_t kBegin = 1, kEnd = 2;

std::shared_ptr<const Grammar> yes_or_no(bool is_open = false) {
  static const GrammarCompiler compiler;
  return behind_thoughts(compiler.compile({GrammarSpec::Kind::regex, "yes|no"}),
                         {kBegin, kEnd, is_open},
                         {GrammarCompiler::kByteEnd});
}

bool accepts(GrammarState& state, std::string_view text) {
  for (const char c : text)
    if (!state.accept(static_cast<unsigned char>(c))) return false;
  return true;
}

bool allows(GrammarState& state, int32_t token) {
  std::vector<uint32_t> words(9);
  state.fill_mask(words);
  return (words[static_cast<size_t>(token) / 32] >> (token % 32)) & 1;
}

TEST(BehindThoughts, AnythingButAnEndStandsInThem) {
  const auto state = yes_or_no()->start();
  EXPECT_TRUE(allows(*state, kBegin) && allows(*state, 'y') && !allows(*state, 'x'));
  EXPECT_TRUE(accepts(*state, "\x01 maybe\x02"));
  EXPECT_FALSE(allows(*state, 'm'));
  EXPECT_FALSE(state->accept('m'));
  EXPECT_TRUE(accepts(*state, "yes"));
  EXPECT_TRUE(state->accept(GrammarCompiler::kByteEnd));
  EXPECT_TRUE(state->is_finished());
}

TEST(BehindThoughts, ThinkingMayBeLeftOut) {
  const auto state = yes_or_no()->start();
  EXPECT_TRUE(state->accept('n'));
  EXPECT_FALSE(state->accept(kBegin));
  EXPECT_TRUE(state->accept('o'));
  EXPECT_TRUE(state->accept(GrammarCompiler::kByteEnd));
}

TEST(BehindThoughts, ItDoesNotEndWhileItThinks) {
  const auto state = yes_or_no(true)->start();
  EXPECT_FALSE(allows(*state, GrammarCompiler::kByteEnd));
  EXPECT_FALSE(state->accept(GrammarCompiler::kByteEnd));
  EXPECT_TRUE(accepts(*state, "x\x02no"));
}

TEST(BehindThoughts, RollbackCrossesTheMarks) {
  const auto state = yes_or_no()->start();
  EXPECT_TRUE(accepts(*state, "\x01x\x02ye"));
  state->rollback(2);
  EXPECT_TRUE(allows(*state, 'n') && !allows(*state, 'x'));
  state->rollback(1);  // the end of thoughts
  EXPECT_TRUE(allows(*state, 'x'));
  state->rollback(2);
  EXPECT_TRUE(allows(*state, kBegin) && !allows(*state, 'x'));
  EXPECT_TRUE(accepts(*state, "no"));
}

}  // namespace
}  // namespace quern

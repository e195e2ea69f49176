// SPDX-License-Identifier: Apache-2.0
// Regular expressions, EBNF and structural tags as grammars; the compiler's limits and cache; the
// mask in a sampler.
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <thread>

#include "sampling/grammar/grammar_compiler.h"
#include "sampling/grammar/grammar_error.h"
#include "sampling/sampler.h"

namespace quern {
namespace {

using Kind = GrammarSpec::Kind;

constexpr int32_t kEnd = GrammarCompiler::kByteEnd;

const GrammarCompiler& compiler() {
  static const GrammarCompiler shared;
  return shared;
}

std::shared_ptr<const Grammar> grammar_of(Kind kind, const std::string& text) {
  return compiler().compile({kind, text});
}

bool accepts(const Grammar& grammar, const std::string& text) {
  const auto state = grammar.start();
  for (const char c : text)
    if (!state->accept(static_cast<unsigned char>(c))) return false;
  return state->accept(kEnd) && state->is_finished();
}

std::set<int32_t> allowed(GrammarState& state) {
  std::vector<uint32_t> words(9);
  state.fill_mask(words);
  std::set<int32_t> out;
  for (int32_t id = 0; id < 288; ++id)
    if (words[static_cast<size_t>(id) / 32] >> (id % 32) & 1u) out.insert(id);
  return out;
}

TEST(Grammar, RegexIsMatchedWhole) {
  const auto grammar = grammar_of(Kind::regex, R"((foo|ba[rz])-\d{2,3}(x?)$)");
  EXPECT_TRUE(accepts(*grammar, "foo-12"));
  EXPECT_TRUE(accepts(*grammar, "baz-123x"));
  for (const char* wrong : {"foo-1", "fo", "foo-1234", "foo-12y", " foo-12"})
    EXPECT_FALSE(accepts(*grammar, wrong)) << wrong;
}

TEST(Grammar, RegexKnowsClassesAndCodePoints) {
  const auto grammar = grammar_of(Kind::regex, R"([^\W_]\s[\u00e4-\u00fc]\.[\]\-a])");
  EXPECT_TRUE(accepts(*grammar, "a ö.]"));
  EXPECT_TRUE(accepts(*grammar, "7\tü.-"));
  EXPECT_FALSE(accepts(*grammar, "_ ö.]"));
  EXPECT_FALSE(accepts(*grammar, "a öx]"));
}

TEST(Grammar, EbnfAndLark) {
  const auto ebnf = grammar_of(Kind::ebnf, "root ::= \"a\" tail\ntail ::= \"b\" tail | \"c\"\n");
  EXPECT_TRUE(accepts(*ebnf, "abbc"));
  EXPECT_FALSE(accepts(*ebnf, "abb"));
  const auto lark = grammar_of(Kind::ebnf, "start: \"x\" NUMBER\nNUMBER: /[0-9]+/\n");
  EXPECT_TRUE(accepts(*lark, "x42"));
  EXPECT_FALSE(accepts(*lark, "x"));
}

TEST(Grammar, StructuralTagHoldsItsSchemas) {
  const auto tag = grammar_of(
      Kind::structural_tag,
      R"({"type": "structural_tag", "structures": [{"begin": "<f>", "schema": {"type": "object", "properties": {"n": {"type": "integer"}},
          "required": ["n"], "additionalProperties": false}, "end": "</f>"}], "triggers": ["<f>"]})");
  EXPECT_TRUE(accepts(*tag, "free text"));
  EXPECT_TRUE(accepts(*tag, "say <f>{\"n\": 1}</f> done"));
  EXPECT_FALSE(accepts(*tag, "say <f>{\"m\": 1}</f>"));
  EXPECT_THROW(
      grammar_of(
          Kind::structural_tag,
          R"({"format": {"type": "json_schema", "json_schema": {"type": "string", "format": "nope"}}})"),
      GrammarError);
}

TEST(Grammar, MaskSaysWhatMayFollowAndRollbackTakesBack) {
  const auto grammar = grammar_of(Kind::regex, "ab?");
  const auto state = grammar->start();
  EXPECT_EQ(allowed(*state), std::set<int32_t>{'a'});
  EXPECT_FALSE(state->accept('b'));
  EXPECT_TRUE(state->accept('a'));
  EXPECT_EQ(allowed(*state), (std::set<int32_t>{'b', kEnd}));
  EXPECT_TRUE(state->accept('b'));
  EXPECT_EQ(allowed(*state), std::set<int32_t>{kEnd});
  state->rollback(2);
  EXPECT_EQ(allowed(*state), std::set<int32_t>{'a'});
  EXPECT_TRUE(state->accept('a') && state->accept(kEnd));
  EXPECT_TRUE(state->is_finished());
  EXPECT_TRUE(allowed(*state).empty());
}

TEST(Grammar, WhatIsWrongOrTooLargeIsRefused) {
  GrammarLimits small;
  small.max_spec_bytes = 100;
  const GrammarCompiler limited(small);
  EXPECT_THROW(limited.compile({Kind::regex, std::string(101, 'a')}), GrammarError);
  for (const char* pattern : {"(", "a)", "[a", "*a", "a{5,2}", "\\p{L}", "\\bx", "(?i)a", "x^"})
    EXPECT_THROW(grammar_of(Kind::regex, pattern), GrammarError) << pattern;
  for (const char* grammar :
       {"root ::= missing", "root ::= \"a", "other ::= \"a\"", "root ::= \"a\"{99999}"})
    EXPECT_THROW(grammar_of(Kind::ebnf, grammar), GrammarError) << grammar;
  EXPECT_THROW(
      grammar_of(Kind::ebnf, "root ::= " + std::string(100, '(') + "\"a\"" + std::string(100, ')')),
      GrammarError);
  EXPECT_THROW(grammar_of(Kind::structural_tag, "[]"), GrammarError);
}

TEST(Grammar, EqualSpecsShareAGrammarWithinTheCachesBound) {
  const GrammarCompiler own;
  const auto first = own.compile({Kind::regex, "abc"});
  EXPECT_EQ(own.compile({Kind::regex, "abc"}), first);
  EXPECT_NE(own.compile({Kind::regex, "abd"}), first);
  GrammarLimits none;
  none.cache_bytes = 0;
  const GrammarCompiler forgetful(none);
  const auto once = forgetful.compile({Kind::regex, "abc"});
  EXPECT_NE(forgetful.compile({Kind::regex, "abc"}), once);
}

TEST(Grammar, ACompilationPastItsDeadlineIsRefused) {
  GrammarLimits hasty;
  hasty.deadline = std::chrono::milliseconds(0);
  const GrammarCompiler compiler(hasty);
  EXPECT_THROW(compiler.compile({Kind::regex, "(abc|def)*"}), Error);
}

TEST(Grammar, ManyThreadsMayCompileAtOnce) {
  const GrammarCompiler own;
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      const auto grammar = own.compile({Kind::regex, "x" + std::to_string(i % 3)});
      good += accepts(*grammar, "x" + std::to_string(i % 3)) ? 1 : 0;
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(good, 8);
}

SamplingParams constrained(const std::string& regex) {
  SamplingParams p;
  p.temperature = 0;
  p.stop_token_ids = {kEnd};
  p.grammar = grammar_of(Kind::regex, regex);
  return p;
}

// The likeliest token that the grammar allows, step by step; logprobs stay those of the whole row.
TEST(GrammarMask, SamplerFollowsTheGrammar) {
  SamplingParams p = constrained("b(c|d)");
  p.logprobs = 1;
  Sampler sampler(p, 0, {});
  std::vector<int32_t> tokens = {1, 2};
  for (const int32_t expected : {static_cast<int32_t>('b'), static_cast<int32_t>('d'), kEnd}) {
    std::vector<float> row(300, 0.0f);
    row['a'] = 9;
    row['d'] = 2;
    const SampledToken sampled = sampler.next(row, {tokens, 2});
    EXPECT_EQ(sampled.token, expected);
    EXPECT_EQ(sampled.logprobs.at(1).token, 'a');
    tokens.push_back(sampled.token);
  }
}

// A new sampler (after a restart) and one whose history was cut go on where the history stands.
TEST(GrammarMask, StateFollowsTheHistory) {
  const SamplingParams p = constrained("abc");
  Sampler sampler(p, 0, {});
  std::vector<int32_t> tokens = {7, 'a', 'b'};
  std::vector<float> row(257, 0.0f);
  EXPECT_EQ(sampler.next(row, {tokens, 1}).token, 'c');
  tokens.pop_back();
  row.assign(257, 0.0f);
  EXPECT_EQ(sampler.next(row, {tokens, 1}).token, 'b');
  tokens.back() = 'x';
  EXPECT_THROW(sampler.next(row, {tokens, 1}), Error);
}

TEST(GrammarMask, NothingLeftIsAnErrorOfTheRequest) {
  SamplingParams p = constrained("a");
  p.min_tokens = 2;
  p.max_tokens = 9;
  Sampler sampler(p, 0, {});
  const std::vector<int32_t> tokens = {7, 'a'};
  std::vector<float> row(257, 0.0f);
  try {
    sampler.next(row, {tokens, 1});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("min_tokens"), std::string::npos);
  }
}

TEST(GrammarMask, NanIsStillSeen) {
  const SamplingParams p = constrained("a");
  Sampler sampler(p, 0, {});
  const std::vector<int32_t> tokens = {7};
  std::vector<float> row(257, 0.0f);
  row[200] = std::numeric_limits<float>::quiet_NaN();
  try {
    sampler.next(row, {tokens, 1});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::internal);
  }
}

TEST(GrammarMask, DistributionRespectsIt) {
  SamplingParams p = constrained("[xy]");
  p.temperature = 1;
  const std::vector<float> row(257, 0.0f);
  const std::vector<int32_t> tokens = {7};
  const auto probabilities = sampled_distribution(row, p, {tokens, 1});
  EXPECT_FLOAT_EQ(probabilities['x'], 0.5f);
  EXPECT_FLOAT_EQ(probabilities['y'], 0.5f);
  EXPECT_EQ(probabilities['z'], 0);
}

}  // namespace
}  // namespace quern

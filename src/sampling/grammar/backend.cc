// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/backend.h"

#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <variant>

#include "base/json.h"
#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

constexpr size_t kMostVocabularies = 4;

// xgrammar's own errors carry a time and a source line in front.
std::string reason_of(const std::exception& error) {
  std::string text = error.what();
  if (const size_t end = text.find("] "); text.starts_with("[") && end != std::string::npos)
    text = text.substr(end + 2);
  if (const size_t place = text.find(".cc:"); place != std::string::npos)
    if (const size_t end = text.find(": ", place); end != std::string::npos)
      text = text.substr(end + 2);
  return text.substr(0, 500);
}

// Token ids that formats of a structural tag name.
void find_token_ids(const Json& node, std::vector<int64_t>& out) {
  if (node.is_array())
    for (const Json& item : node) find_token_ids(item, out);
  if (!node.is_object()) return;
  for (const auto& [key, value] : node.items()) {
    const bool names_tokens =
        key == "token" || key == "trigger_tokens" || key == "exclude_tokens" || key == "patterns";
    const Json list = value.is_array() ? value : Json::array({value});
    for (const Json& id : list)
      if (names_tokens && id.is_number_integer()) out.push_back(id.get<int64_t>());
    find_token_ids(value, out);
  }
}

class Matcher final : public GrammarState {
 public:
  Matcher(const xgrammar::CompiledGrammar& compiled, int32_t vocab)
      : matcher_(compiled), words_(static_cast<size_t>((vocab + 31) / 32)) {}

  void fill_mask(std::span<uint32_t> words) override {
    if (is_finished()) return std::fill(words.begin(), words.end(), 0u);
    std::fill(words_.begin(), words_.end(), ~0u);
    int64_t shape = static_cast<int64_t>(words_.size());
    DLTensor mask{};
    mask.data = words_.data();
    mask.device = {kDLCPU, 0};
    mask.ndim = 1;
    mask.dtype = {kDLInt, 32, 1};
    mask.shape = &shape;
    matcher_.FillNextTokenBitmask(&mask);
    const size_t count = std::min(words.size(), words_.size());
    std::copy_n(words_.begin(), count, words.begin());
    std::fill(words.begin() + static_cast<ptrdiff_t>(count), words.end(), 0u);
  }

  bool accept(int32_t token) override {
    return !is_finished() && token >= 0 && static_cast<size_t>(token) < words_.size() * 32 &&
           matcher_.AcceptToken(token);
  }

  void rollback(int tokens) override { matcher_.Rollback(tokens); }
  bool is_finished() const override { return matcher_.IsTerminated(); }

 private:
  xgrammar::GrammarMatcher matcher_;
  std::vector<uint32_t> words_;
};

class Compiled final : public Grammar {
 public:
  Compiled(xgrammar::CompiledGrammar compiled, int32_t vocab)
      : compiled_(std::move(compiled)), vocab_(vocab) {}
  std::unique_ptr<GrammarState> start() const override {
    return std::make_unique<Matcher>(compiled_, vocab_);
  }
  size_t memory_bytes() const override { return compiled_.MemorySizeBytes(); }

 private:
  xgrammar::CompiledGrammar compiled_;
  int32_t vocab_;
};

}  // namespace

struct GrammarBackend::State {
  State(const std::vector<std::string>& vocabulary, const std::vector<int32_t>& end_ids)
      : vocab(static_cast<int32_t>(vocabulary.size())),
        tokens(vocabulary, xgrammar::VocabType::RAW, vocab, end_ids),
        compiler(tokens, /*max_threads=*/1, /*cache_enabled=*/false) {}

  // A text without "::=" is a Lark grammar, as vLLM's clients write them.
  xgrammar::CompiledGrammar compile(GrammarSpec::Kind kind, const std::string& text) const {
    auto& c = const_cast<xgrammar::GrammarCompiler&>(compiler);  // stateless without its cache
    if (kind == GrammarSpec::Kind::structural_tag) return c.CompileStructuralTag(text);
    if (kind == GrammarSpec::Kind::ebnf && text.find("::=") == std::string::npos)
      return c.CompileLark(text);
    return c.CompileGrammar(text);
  }

  int32_t vocab;
  xgrammar::TokenizerInfo tokens;
  xgrammar::GrammarCompiler compiler;
};

GrammarBackend::GrammarBackend(std::vector<std::string> vocabulary, std::vector<int32_t> end_ids)
    : vocabulary_(std::move(vocabulary)),
      end_ids_(std::move(end_ids)),
      state_(std::make_shared<const State>(vocabulary_, end_ids_)) {}

GrammarBackend::~GrammarBackend() = default;

// xgrammar never allows a token without text. So those that a tag names get one that is no UTF-8:
// no rule for text matches it.
std::shared_ptr<const GrammarBackend::State> GrammarBackend::state_with(
    const std::vector<int32_t>& special) const {
  if (special.empty()) return state_;
  const std::lock_guard lock(mutex_);
  for (const auto& [ids, state] : special_)
    if (ids == special) return state;
  std::vector<std::string> vocabulary = vocabulary_;
  for (const int32_t id : special)
    vocabulary[static_cast<size_t>(id)] = "\xff" + std::to_string(id);
  if (special_.size() == kMostVocabularies) special_.erase(special_.begin());
  special_.emplace_back(special, std::make_shared<const State>(vocabulary, end_ids_));
  return special_.back().second;
}

std::shared_ptr<const Grammar> GrammarBackend::compile(GrammarSpec::Kind kind,
                                                       const std::string& text) const {
  std::vector<int64_t> named;
  if (kind == GrammarSpec::Kind::structural_tag)
    find_token_ids(parse_json(text, "structural tag", {.max_depth = 128}), named);
  std::vector<int32_t> special;
  for (const int64_t id : named) {
    if (id < 0 || id >= static_cast<int64_t>(vocabulary_.size()))
      fail_grammar("", "token {} is outside the vocabulary of {}", id, vocabulary_.size());
    if (vocabulary_[static_cast<size_t>(id)].empty()) special.push_back(static_cast<int32_t>(id));
  }
  std::ranges::sort(special);
  special.erase(std::unique(special.begin(), special.end()), special.end());
  try {
    const std::shared_ptr<const State> state = state_with(special);
    return std::make_shared<const Compiled>(state->compile(kind, text), state->vocab);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    fail_grammar("", "the constraint cannot be compiled: {}", reason_of(error));
  }
}

}  // namespace quern

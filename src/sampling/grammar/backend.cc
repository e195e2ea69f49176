// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/backend.h"

#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <variant>

#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

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

GrammarBackend::GrammarBackend(const std::vector<std::string>& vocabulary,
                               const std::vector<int32_t>& end_ids)
    : state_(std::make_unique<const State>(vocabulary, end_ids)) {}

GrammarBackend::~GrammarBackend() = default;

std::shared_ptr<const Grammar> GrammarBackend::compile(GrammarSpec::Kind kind,
                                                       const std::string& text) const {
  try {
    return std::make_shared<const Compiled>(state_->compile(kind, text), state_->vocab);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    fail_grammar("", "the constraint cannot be compiled: {}", reason_of(error));
  }
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// quern grammar: compiles a constraint as the server would, and says of texts whether it lets them
// pass or where it stops them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "api/grammar_presets.h"
#include "base/file.h"
#include "base/json.h"
#include "commands.h"
#include "exit_codes.h"
#include "model_source.h"
#include "sampling/grammar/grammar_compiler.h"
#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = GrammarSpec::Kind;

struct GrammarOptions {
  std::string schema, regex, ebnf, structural_tag, preset, model;
  std::vector<std::string> instances;
  bool json = false, print = false;
};

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Verdict {
  std::string file;
  bool is_accepted = false;
  size_t byte = 0, line = 1, column = 1;  // where it is refused
  std::string expected, found;
  std::vector<int32_t> ids;  // as the text was cut into tokens
};

// The texts of instances as token ids.
class Vocabulary {
 public:
  explicit Vocabulary(const std::string& model) {
    if (model.empty()) return;
    tokenizer_.emplace(open_tokenizer(find_model(model)));
    if (!tokenizer_->eos_id())
      fail(ErrorCode::unsupported, "{}: its tokenizer names no end-of-sequence token", model);
  }
  std::unique_ptr<GrammarCompiler> compiler() const {
    return tokenizer_ ? std::make_unique<GrammarCompiler>(*tokenizer_, std::vector{end()})
                      : std::make_unique<GrammarCompiler>();
  }
  int32_t end() const { return tokenizer_ ? *tokenizer_->eos_id() : GrammarCompiler::kByteEnd; }
  int32_t size() const { return tokenizer_ ? tokenizer_->vocab_size() : 257; }
  std::vector<int32_t> ids(const std::string& text) const {
    if (!tokenizer_) {
      std::vector<int32_t> out;
      for (const char c : text) out.push_back(static_cast<unsigned char>(c));
      return out;
    }
    return tokenizer_->encode(text, {.add_special_tokens = false, .parse_special = false});
  }
  std::string bytes(int32_t id) const {
    return tokenizer_ ? std::string(tokenizer_->token_bytes(id))
                      : std::string(1, static_cast<char>(id));
  }

 private:
  std::optional<Tokenizer> tokenizer_;
};

std::string shown(const std::string& bytes) {
  std::string out = json_text(bytes);
  return out.size() > 40 ? out.substr(0, 40) + "…" : out;
}

// The shortest of what is allowed, as far as a line has room.
std::string expected_at(const std::vector<uint32_t>& mask, const Vocabulary& vocabulary) {
  std::vector<std::string> texts;
  bool may_end = false;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1u) == 0) continue;
    if (id == vocabulary.end())
      may_end = true;
    else
      texts.push_back(vocabulary.bytes(id));
  }
  std::stable_sort(
      texts.begin(), texts.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  std::string out = may_end ? "the end" : "";
  for (size_t i = 0; i < std::min<size_t>(texts.size(), 12); ++i)
    out += (out.empty() ? "" : ", ") + shown(texts[i]);
  if (texts.size() > 12) out += format(" and {} more", texts.size() - 12);
  return out.empty() ? "nothing" : out;
}

Verdict judge(const Grammar& grammar,
              const Vocabulary& vocabulary,
              const std::string& file,
              std::vector<double>& mask_us) {
  const std::string text = read_file(file, size_t{16} << 20);
  std::vector<int32_t> ids = vocabulary.ids(text);
  ids.push_back(vocabulary.end());
  std::vector<uint32_t> mask(static_cast<size_t>(vocabulary.size() + 31) / 32);
  const auto state = grammar.start();
  Verdict out;
  out.file = file;
  out.ids = ids;
  for (const int32_t id : ids) {
    const auto start = Clock::now();
    state->fill_mask(mask);
    mask_us.push_back(ms_since(start) * 1000);
    const bool is_allowed = (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1u) != 0;
    if (is_allowed && state->accept(id)) {
      if (id != vocabulary.end()) out.byte += vocabulary.bytes(id).size();
      continue;
    }
    const std::string before = text.substr(0, out.byte);
    out.line += static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
    out.column = out.byte - (before.rfind('\n') + 1) + 1;
    out.expected = expected_at(mask, vocabulary);
    out.found = id == vocabulary.end() ? "the end" : shown(vocabulary.bytes(id));
    return out;
  }
  out.is_accepted = state->is_finished();
  return out;
}

double at_share(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

GrammarSpec spec_of(const GrammarOptions& o) {
  if (!o.preset.empty()) return *grammar_preset(o.preset);
  const auto read = [](const std::string& file) { return read_file(file, size_t{1} << 20); };
  if (!o.schema.empty()) return {Kind::json_schema, read(o.schema)};
  if (!o.ebnf.empty()) return {Kind::ebnf, read(o.ebnf)};
  if (!o.structural_tag.empty()) return {Kind::structural_tag, read(o.structural_tag)};
  std::string pattern = read(o.regex);
  while (!pattern.empty() && (pattern.back() == '\n' || pattern.back() == '\r')) pattern.pop_back();
  return {Kind::regex, pattern};
}

int refuse(const GrammarOptions& o, const GrammarError& error) {
  if (o.json) {
    const Json out = {{"compiled", false}, {"pointer", error.pointer()}, {"error", error.what()}};
    std::printf("%s\n", json_text(out).c_str());
  } else {
    std::fprintf(stderr, "quern: %s\n", error.what());
  }
  return kExitUsage;
}

void show(const Verdict& v) {
  if (v.is_accepted) {
    std::printf("%s: accepted\n", v.file.c_str());
    return;
  }
  std::printf("%s:%zu:%zu: refused at byte %zu: found %s, expected %s\n",
              v.file.c_str(),
              v.line,
              v.column,
              v.byte,
              v.found.c_str(),
              v.expected.c_str());
}

int run_grammar(const GrammarOptions& o) {
  const GrammarSpec spec = spec_of(o);
  const Vocabulary vocabulary(o.model);
  const auto compiler = vocabulary.compiler();
  std::shared_ptr<const Grammar> grammar;
  const auto start = Clock::now();
  try {
    if (o.print) std::printf("%s\n", translated(spec).c_str());
    grammar = compiler->compile(spec);
  } catch (const GrammarError& error) {
    return refuse(o, error);
  }
  const double compile_ms = ms_since(start);
  std::vector<double> mask_us;
  Json verdicts = Json::array();
  bool are_all_accepted = true;
  for (const std::string& file : o.instances) {
    const Verdict v = judge(*grammar, vocabulary, file, mask_us);
    are_all_accepted &= v.is_accepted;
    if (!o.json) show(v);
    Json entry = {{"file", v.file}, {"accepted", v.is_accepted}};
    if (!o.model.empty()) entry["ids"] = v.ids;
    if (!v.is_accepted)
      entry.update({{"byte", v.byte},
                    {"line", v.line},
                    {"column", v.column},
                    {"found", v.found},
                    {"expected", v.expected}});
    verdicts.push_back(std::move(entry));
  }
  const double median = at_share(mask_us, 0.5), p99 = at_share(mask_us, 0.99);
  if (o.json) {
    Json out = {{"compiled", true},
                {"compile_ms", compile_ms},
                {"memory_bytes", grammar->memory_bytes()},
                {"masks", mask_us.size()},
                {"mask_us", {{"median", median}, {"p99", p99}}},
                {"instances", std::move(verdicts)}};
    if (mask_us.size() <= 5000) out["mask_us"]["all"] = mask_us;
    std::printf("%s\n", json_text(out).c_str());
  } else {
    std::printf("compiled in %.1f ms, %.1f KB",
                compile_ms,
                static_cast<double>(grammar->memory_bytes()) / 1e3);
    if (!mask_us.empty())
      std::printf("; %zu masks, median %.1f us, p99 %.1f us", mask_us.size(), median, p99);
    std::printf("\n");
  }
  return are_all_accepted ? kExitDone : kExitFailed;
}

}  // namespace

void add_grammar_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<GrammarOptions>();
  CLI::App* command =
      parent.add_subcommand("grammar", "compile a constraint on answers and try texts on it");
  auto* what = command->add_option_group("constraint", "exactly one of them");
  what->add_option("--schema", o->schema, "a file with a JSON schema");
  what->add_option("--regex", o->regex, "a file with a regular expression");
  what->add_option(
      "--ebnf", o->ebnf, "a file with a grammar: rules \"name ::= …\" from root, or Lark");
  what->add_option("--structural-tag", o->structural_tag, "a file with a structural tag");
  what->add_option("--preset", o->preset, "a grammar that is known by name")
      ->check(CLI::IsMember(grammar_preset_names()));
  what->require_option(1);
  command->add_option(
      "--instance", o->instances, "files whose texts are tried: exit code 1 if one is refused");
  command->add_option(
      "--tokenizer", o->model, "the vocabulary of this model; without it, single bytes");
  command->add_flag("--print", o->print, "print the grammar that is compiled");
  command->add_flag("--json", o->json, "one JSON object");
  command->callback([o, &exit_code] { exit_code = run_grammar(*o); });
}

}  // namespace quern

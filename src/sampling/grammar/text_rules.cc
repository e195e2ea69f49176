// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/text_rules.h"

#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

std::string class_character(uint32_t code) {
  const bool is_simple = (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
                         (code >= 'A' && code <= 'Z') || code == ' ' || code == '_';
  return is_simple ? std::string(1, static_cast<char>(code)) : format("\\U{:08x}", code);
}

std::string class_of(const CodeSet& chars) {
  std::string out = "[";
  for (const CodeRange& r : chars.ranges()) {
    out += class_character(r.first);
    if (r.last > r.first) out += "-" + class_character(r.last);
  }
  return out + "]";
}

std::string joined(const std::vector<std::string>& options) {
  std::string out;
  for (const std::string& option : options) out += (out.empty() ? "" : " | ") + option;
  return out;
}

constexpr const char* kShort = "\b\f\n\r\t";
constexpr const char* kShortNames = "bfnrt";

// Quote, backslash and control characters, as JSON escapes them.
std::vector<std::string> escapes_of(const CodeSet& chars) {
  std::vector<std::string> out;
  if (chars.has('"')) out.push_back(R"("\\\"")");
  if (chars.has('\\')) out.push_back(R"("\\\\")");
  if ((chars & CodeSet::range(0, 0x1F)) == CodeSet::range(0, 0x1F)) {
    out.push_back(R"("\\" ([bfnrt] | "u00" [01] [0-9a-fA-F]))");
    return out;
  }
  for (uint32_t code = 0; code < 0x20; ++code) {
    if (!chars.has(code)) continue;
    const std::string_view shorts = kShort;
    const size_t place = shorts.find(static_cast<char>(code));
    if (place != std::string_view::npos) out.push_back(format("\"\\\\{}\"", kShortNames[place]));
    out.push_back(format("\"\\\\u{:04x}\"", code));
  }
  return out;
}

}  // namespace

std::string TextRules::reserve(std::string_view hint) {
  return format("{}_{}", hint, next_++);
}

void TextRules::define(const std::string& name, const std::string& body) {
  text_ += name + " ::= " + body + "\n";
  if (text_.size() > kMaxBytes)
    fail_grammar("", "the constraint becomes a grammar of more than {} bytes", kMaxBytes);
}

std::string TextRules::add(std::string_view hint, const std::string& body) {
  std::string name = reserve(hint);
  define(name, body);
  return name;
}

std::string TextRules::literal(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F)
      out += format("\\u{:04x}", byte);
    else if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out + "\"";
}

std::string TextRules::of_chars(const CodeSet& chars, Writing writing) {
  if (chars.is_empty()) fail_grammar("", "a character class that nothing matches");
  if (writing == Writing::plain) return class_of(chars);
  const CodeSet special = CodeSet::range(0, 0x1F) | CodeSet::of("\"\\");
  std::vector<std::string> options;
  if (const CodeSet raw = chars - special; !raw.is_empty()) options.push_back(class_of(raw));
  for (std::string& option : escapes_of(chars)) options.push_back(std::move(option));
  return options.size() == 1 ? options[0] : "(" + joined(options) + ")";
}

std::string TextRules::of(const Pattern& p, Writing writing) {
  switch (p.kind) {
    case Pattern::Kind::chars:
      return of_chars(p.chars, writing);
    case Pattern::Kind::sequence: {
      std::string out;
      for (const Pattern& part : p.parts) out += (out.empty() ? "" : " ") + of(part, writing);
      return p.parts.empty() ? "\"\"" : p.parts.size() == 1 ? out : "(" + out + ")";
    }
    case Pattern::Kind::choice: {
      std::vector<std::string> options;
      for (const Pattern& part : p.parts) options.push_back(of(part, writing));
      return "(" + joined(options) + ")";
    }
    case Pattern::Kind::repeat: {
      std::string part = of(p.parts[0], writing);
      if (p.parts[0].kind == Pattern::Kind::repeat) part = "(" + part + ")";
      if (p.max == 0) return "\"\"";
      if (p.max == Pattern::kNoLimit && p.min <= 1) return part + (p.min == 0 ? "*" : "+");
      if (p.min == 0 && p.max == 1) return part + "?";
      return p.max == Pattern::kNoLimit ? format("{}{{{},}}", part, p.min)
                                        : format("{}{{{},{}}}", part, p.min, p.max);
    }
    case Pattern::Kind::start:
    case Pattern::Kind::end:
      break;
  }
  return "\"\"";
}

// The ways to write one of `chars`, each with `next` behind it. Nothing is grouped: a rule that
// ends within a token is slow.
std::vector<std::string> TextRules::steps(const CodeSet& chars,
                                          Writing writing,
                                          const std::string& next) {
  if (writing == Writing::plain) return {class_of(chars) + " " + next};
  const CodeSet special = CodeSet::range(0, 0x1F) | CodeSet::of("\"\\");
  std::vector<std::string> out;
  if (const CodeSet raw = chars - special; !raw.is_empty())
    out.push_back(class_of(raw) + " " + next);
  if (chars.is_all()) {
    out.push_back("\"\\\\\" " + any_escape(next));
    return out;
  }
  if (chars.has('"')) out.push_back(R"("\\\"" )" + next);
  if (chars.has('\\')) out.push_back(R"("\\\\" )" + next);
  const CodeSet controls = chars & CodeSet::range(0, 0x1F);
  if (controls == CodeSet::range(0, 0x1F)) {
    out.push_back(R"("\\" [bfnrt] )" + next);
    out.push_back(R"("\\u00" [01] [0-9a-fA-F] )" + next);
    return out;
  }
  for (const std::string& option : escapes_of(controls)) out.push_back(option + " " + next);
  return out;
}

// What may follow a backslash, as JSON knows it; no halves of surrogate pairs.
std::string TextRules::any_escape(const std::string& next) {
  const auto [entry, is_new] = escapes_.emplace(next, "");
  if (!is_new) return entry->second;
  const std::string hex = "[0-9a-fA-F] ";
  const std::string code =
      add("e",
          "[0-9a-cA-CefEF] " + hex + hex + hex + next + " | [dD] [0-7] " + hex + hex + next +
              " | [dD] [89abAB] " + hex + hex + R"("\\u" [dD] [c-fC-F] )" + hex + hex + next);
  return entry->second = add("e", R"(["\\/bfnrt] )" + next + " | \"u\" " + code);
}

// One rule a state. A loop of a state to itself is a star: such rules are faster than recursion.
std::string TextRules::of(const Automaton& automaton, Writing writing, std::string_view closing) {
  const auto& states = automaton.states();
  if (states.size() > kMaxStates)
    fail_grammar(
        "",
        "the constraints on a text come to {} states of an automaton; the limit is {}; use "
        "smaller bounds or a simpler pattern",
        states.size(),
        kMaxStates);
  const std::string end = literal(closing);
  const CodeSet escaped =
      writing == Writing::json ? CodeSet::range(0, 0x1F) | CodeSet::of("\"\\") : CodeSet();
  std::vector<std::string> names;
  for (size_t i = 0; i < states.size(); ++i) names.push_back(reserve("t"));
  for (size_t i = 0; i < states.size(); ++i) {
    std::vector<std::string> options;
    std::string loop;
    for (const Automaton::Edge& edge : states[i].edges) {
      const auto to = static_cast<size_t>(edge.to);
      const bool is_last = states[to].edges.empty();
      for (std::string& step : steps(edge.chars, writing, is_last ? end : names[to]))
        options.push_back(std::move(step));
      if (const CodeSet raw = edge.chars - escaped; to == i && !raw.is_empty()) {
        loop = class_of(raw) + "* ";
        std::erase(options, class_of(raw) + " " + names[i]);
      }
    }
    if (states[i].is_accepting) options.push_back(end);
    if (options.empty()) fail_grammar("", "no text satisfies all constraints on it");
    define(names[i], loop.empty() ? joined(options) : loop + "(" + joined(options) + ")");
  }
  return names[0];
}

}  // namespace quern

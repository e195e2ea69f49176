// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/pattern.h"

#include <algorithm>
#include <utility>

#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

using Kind = Pattern::Kind;

constexpr size_t kMaxSource = 8192;
constexpr int kMaxDepth = 64, kMaxCount = 4096;

CodeSet digits() {
  return CodeSet::range('0', '9');
}
CodeSet word_characters() {
  return digits() | CodeSet::range('a', 'z') | CodeSet::range('A', 'Z') | CodeSet::one('_');
}
// ECMA 262: WhiteSpace and LineTerminator.
CodeSet spaces() {
  return CodeSet::range(9, 13) | CodeSet::one(0x20) | CodeSet::one(0xA0) | CodeSet::one(0x1680) |
         CodeSet::range(0x2000, 0x200A) | CodeSet::range(0x2028, 0x2029) | CodeSet::one(0x202F) |
         CodeSet::one(0x205F) | CodeSet::one(0x3000) | CodeSet::one(0xFEFF);
}
CodeSet line_ends() {
  return CodeSet::of("\n\r") | CodeSet::range(0x2028, 0x2029);
}

class Parser {
 public:
  explicit Parser(std::string_view source) : text_(code_points(source)) {}

  Pattern parse() {
    Pattern out = choice(0);
    if (at_ < text_.size()) fail_here("a \")\" without its \"(\"");
    return out;
  }

 private:
  bool is_at(char32_t c) const { return at_ < text_.size() && text_[at_] == c; }
  bool is_at(std::u32string_view s) const { return text_.compare(at_, s.size(), s) == 0; }
  bool take(char32_t c) {
    if (!is_at(c)) return false;
    ++at_;
    return true;
  }
  bool take(std::u32string_view s) {
    if (!is_at(s)) return false;
    at_ += s.size();
    return true;
  }
  char32_t next() {
    if (at_ >= text_.size()) fail_here("it ends within an expression");
    return text_[at_++];
  }
  [[noreturn]] void fail_here(std::string_view what) const {
    fail_grammar("", "the regular expression at character {}: {}", at_, what);
  }

  Pattern choice(int depth) {
    if (depth > kMaxDepth) fail_here("groups are nested too deep");
    std::vector<Pattern> options = {sequence(depth)};
    while (take(U'|')) options.push_back(sequence(depth));
    return options.size() == 1 ? std::move(options[0]) : Pattern::choice(std::move(options));
  }

  Pattern sequence(int depth) {
    std::vector<Pattern> parts;
    while (at_ < text_.size() && !is_at(U'|') && !is_at(U')'))
      parts.push_back(quantified(atom(depth)));
    return parts.size() == 1 ? std::move(parts[0]) : Pattern::sequence(std::move(parts));
  }

  Pattern atom(int depth) {
    const char32_t c = next();
    if (c == U'^') return anchor(Kind::start);
    if (c == U'$') return anchor(Kind::end);
    if (c == U'.') return Pattern::of(~line_ends());
    if (c == U'[') return Pattern::of(bracket());
    if (c == U'(') return group(depth);
    if (c == U'\\') return Pattern::of(escape(false));
    if (c == U'*' || c == U'+' || c == U'?') fail_here("a quantifier with nothing in front of it");
    return Pattern::of(CodeSet::one(c));
  }

  Pattern group(int depth) {
    if (take(U"?=") || take(U"?!") || take(U"?<=") || take(U"?<!"))
      fail_here("looking ahead or behind cannot be enforced");
    if (take(U"?:")) {
    } else if (take(U"?P<") || take(U"?<")) {
      while (next() != U'>') {
      }
    } else if (is_at(U'?')) {
      fail_here("flags in a group are not supported");
    }
    Pattern out = choice(depth + 1);
    if (!take(U')')) fail_here("a \"(\" without its \")\"");
    return out;
  }

  static Pattern anchor(Kind kind) {
    Pattern out;
    out.kind = kind;
    return out;
  }

  Pattern quantified(Pattern part) {
    for (;;) {
      int min = 0, max = Pattern::kNoLimit;
      if (take(U'*')) {
      } else if (take(U'+')) {
        min = 1;
      } else if (take(U'?')) {
        max = 1;
      } else if (!counts(min, max)) {
        return part;
      }
      if (take(U'+')) fail_here("possessive quantifiers are not supported");
      take(U'?');  // lazy or not, the same texts match
      if (part.kind == Kind::start || part.kind == Kind::end) fail_here("a repeated anchor");
      part = Pattern::repeat(std::move(part), min, max);
    }
  }

  // {n}, {n,}, {n,m}; any other brace is a character.
  bool counts(int& min, int& max) {
    const size_t before = at_;
    if (!take(U'{')) return false;
    const auto low = number();
    bool has_comma = take(U',');
    const int high = has_comma ? number() : low;
    if (low < 0 || !take(U'}')) {
      at_ = before;
      if (is_at(U'{')) {
        return false;
      }
      return false;
    }
    min = low;
    max = high;
    if (max >= 0 && max < min) fail_here("a repetition whose bounds are the wrong way round");
    if (min > kMaxCount || max > kMaxCount) fail_here("a repetition of more than 4096");
    return true;
  }

  int number() {
    if (at_ >= text_.size() || text_[at_] < U'0' || text_[at_] > U'9') return -1;
    int value = 0;
    while (at_ < text_.size() && text_[at_] >= U'0' && text_[at_] <= U'9')
      value = std::min(value * 10 + static_cast<int>(text_[at_++] - U'0'), 1 << 20);
    return value;
  }

  uint32_t hex(int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i) {
      const char32_t c = next();
      const bool is_digit = c >= U'0' && c <= U'9';
      const char32_t lower = c | 0x20;
      if (!is_digit && (lower < U'a' || lower > U'f')) fail_here("expected a hexadecimal digit");
      value = value * 16 + static_cast<uint32_t>(is_digit ? c - U'0' : lower - U'a' + 10);
    }
    return value;
  }

  uint32_t unicode_escape() {
    if (take(U'{')) {
      uint32_t value = 0;
      while (!take(U'}')) value = std::min(value * 16 + hex(1), 0x110000u);
      if (value > CodeSet::kMax) fail_here("a code point beyond U+10FFFF");
      return value;
    }
    const uint32_t high = hex(4);
    if (high < 0xD800 || high > 0xDBFF || !take(U"\\u")) return high;
    return 0x10000 + ((high - 0xD800) << 10) + (hex(4) - 0xDC00);
  }

  CodeSet escape(bool in_bracket) {
    const char32_t c = next();
    switch (c) {
      case U'd':
        return digits();
      case U'D':
        return ~digits();
      case U'w':
        return word_characters();
      case U'W':
        return ~word_characters();
      case U's':
        return spaces();
      case U'S':
        return ~spaces();
      case U'n':
        return CodeSet::one('\n');
      case U'r':
        return CodeSet::one('\r');
      case U't':
        return CodeSet::one('\t');
      case U'f':
        return CodeSet::one('\f');
      case U'v':
        return CodeSet::one('\v');
      case U'0':
        return CodeSet::one(0);
      case U'x':
        return CodeSet::one(hex(2));
      case U'u':
        return CodeSet::one(unicode_escape());
      case U'c':
        return CodeSet::one(next() & 0x1F);
      case U'b':
        if (in_bracket) return CodeSet::one('\b');
        [[fallthrough]];
      case U'B':
        fail_here("word boundaries cannot be enforced");
      case U'p':
      case U'P':
        fail_here("Unicode properties are not supported; write the ranges");
      default:
        break;
    }
    if (c >= U'1' && c <= U'9') fail_here("back references cannot be enforced");
    if ((c | 0x20) >= U'a' && (c | 0x20) <= U'z') fail_here("an unknown escape");
    return CodeSet::one(c);
  }

  CodeSet bracket() {
    const bool is_negated = take(U'^');
    CodeSet out;
    bool is_first = true;
    while (is_first || !is_at(U']')) {
      if (is_at(U']') && is_first) {  // ECMA: [] is nothing, [^] is anything
        break;
      }
      is_first = false;
      const CodeSet low = bracket_part();
      if (is_at(U'-') && at_ + 1 < text_.size() && text_[at_ + 1] != U']') {
        const bool is_single =
            low.ranges().size() == 1 && low.ranges()[0].first == low.ranges()[0].last;
        ++at_;
        const CodeSet high = bracket_part();
        const bool is_range = is_single && high.ranges().size() == 1 &&
                              high.ranges()[0].first == high.ranges()[0].last;
        if (!is_range) fail_here("a range between classes");
        if (high.ranges()[0].first < low.ranges()[0].first) fail_here("a range that goes down");
        out = out | CodeSet::range(low.ranges()[0].first, high.ranges()[0].first);
      } else {
        out = out | low;
      }
    }
    next();
    return is_negated ? ~out : out;
  }

  CodeSet bracket_part() {
    const char32_t c = next();
    if (c == U'\\') return escape(true);
    if (c == U'[' && (is_at(U':') || is_at(U'.'))) fail_here("POSIX classes are not supported");
    return CodeSet::one(c);
  }

  std::u32string text_;
  size_t at_ = 0;
};

bool has_anchor(const Pattern& p) {
  return p.kind == Kind::start || p.kind == Kind::end ||
         std::any_of(p.parts.begin(), p.parts.end(), has_anchor);
}

// `open_start`: texts may have more in front, unless an anchor says otherwise.
Pattern without_anchors(const Pattern& p, bool open_start, bool open_end) {
  if (p.kind == Kind::choice) {
    std::vector<Pattern> options;
    for (const Pattern& part : p.parts)
      options.push_back(without_anchors(part, open_start, open_end));
    return Pattern::choice(std::move(options));
  }
  std::vector<Pattern> parts = p.kind == Kind::sequence ? p.parts : std::vector<Pattern>{p};
  while (!parts.empty() && parts.front().kind == Kind::start) {
    parts.erase(parts.begin());
    open_start = false;
  }
  while (!parts.empty() && parts.back().kind == Kind::end) {
    parts.pop_back();
    open_end = false;
  }
  if (parts.size() == 1 && has_anchor(parts[0]) && parts[0].kind != Kind::repeat)
    return without_anchors(parts[0], open_start, open_end);
  if (std::any_of(parts.begin(), parts.end(), has_anchor))
    fail_grammar("", "the regular expression has an anchor within; ^ may begin it and $ end it");
  const Pattern rest = Pattern::repeat(Pattern::of(CodeSet::all()), 0);
  if (open_start) parts.insert(parts.begin(), rest);
  if (open_end) parts.push_back(rest);
  return Pattern::sequence(std::move(parts));
}

}  // namespace

Pattern Pattern::of(CodeSet chars) {
  Pattern out;
  out.kind = Kind::chars;
  out.chars = std::move(chars);
  return out;
}

Pattern Pattern::text(std::string_view utf8) {
  Pattern out;
  for (const char32_t c : code_points(utf8)) out.parts.push_back(of(CodeSet::one(c)));
  return out;
}

Pattern Pattern::sequence(std::vector<Pattern> parts) {
  Pattern out;
  out.parts = std::move(parts);
  return out;
}

Pattern Pattern::choice(std::vector<Pattern> parts) {
  Pattern out;
  out.kind = Kind::choice;
  out.parts = std::move(parts);
  return out;
}

Pattern Pattern::repeat(Pattern part, int min, int max) {
  Pattern out;
  out.kind = Kind::repeat;
  out.parts.push_back(std::move(part));
  out.min = min;
  out.max = max;
  return out;
}

Pattern parse_pattern(std::string_view source) {
  if (source.size() > kMaxSource)
    fail_grammar(
        "", "a regular expression of {} bytes; the limit is {}", source.size(), kMaxSource);
  return Parser(source).parse();
}

Pattern whole_match(const Pattern& pattern) {
  return without_anchors(pattern, false, false);
}

Pattern search_match(const Pattern& pattern) {
  return without_anchors(pattern, true, true);
}

}  // namespace quern

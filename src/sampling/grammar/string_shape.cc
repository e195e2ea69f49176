// SPDX-License-Identifier: Apache-2.0
// What the constraints on a string come to; the formats that are enforced.
#include <map>

#include "sampling/grammar/grammar_error.h"
#include "sampling/grammar/schema_expander.h"

namespace quern {
namespace {

constexpr const char* kDate =
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)"
    "|02-(?:0[1-9]|1\\d|2[0-8]))"
    "|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
constexpr const char* kTime =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
constexpr const char* kByte = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
constexpr const char* kLabel = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";

// Each is within what the format allows; the looser forms (quoted local parts of an e-mail address,
// leap seconds, shortened addresses around an IPv4 part) are left out.
std::map<std::string, std::string> make_formats() {
  const std::string date = kDate, time = kTime, byte = kByte, label = kLabel;
  const std::string host = label + "(?:\\." + label + "){0,3}";
  const std::string hex = "[0-9a-fA-F]{1,4}";
  std::string ipv6 = "(?:" + hex + ":){7}" + hex + "|::|::" + hex + "(?::" + hex + "){0,6}";
  for (int left = 1; left <= 6; ++left)
    ipv6 += "|" + hex + "(?::" + hex + "){" + std::to_string(left - 1) + "}::(?:" + hex +
            "(?::" + hex + "){0," + std::to_string(6 - left) + "})?";
  // RFC 3986; `more` are the characters beyond ASCII of RFC 3987.
  const auto uri = [&](const std::string& more, bool is_reference) {
    const std::string pct = "%[0-9a-fA-F]{2}";
    const std::string unreserved = "a-zA-Z0-9._~!$&'()*+,;=" + more;
    const std::string segment = "(?:[" + unreserved + ":@-]|" + pct + ")*";
    const std::string first = "(?:[" + unreserved + (is_reference ? "@-]|" : ":@-]|") + pct + ")+";
    const std::string host = "(?:(?:[" + unreserved + "-]|" + pct + ")*|\\[(?:" + ipv6 + ")\\])";
    const std::string user = "(?:(?:[" + unreserved + ":-]|" + pct + ")*@)?";
    const std::string authority = "//" + user + host + "(?::\\d{0,5})?(?:/" + segment + ")*";
    const std::string rest = "(?:\\?(?:[" + unreserved + ":@/?-]|" + pct + ")*)?(?:#(?:[" +
                             unreserved + ":@/?-]|" + pct + ")*)?";
    const std::string filled = "(?:[" + unreserved + ":@-]|" + pct + ")+";
    const std::string path =
        "/(?:" + filled + "(?:/" + segment + ")*)?|" + first + "(?:/" + segment + ")*";
    const std::string whole = "[a-zA-Z][a-zA-Z0-9+.-]*:(?:" + authority + "|" + path + "|)" + rest;
    return is_reference ? whole + "|(?:" + authority + "|" + path + "|)" + rest : whole;
  };
  const std::string beyond_ascii = "\\u00a0-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef";
  const std::string atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";
  const std::string clock = "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)";
  const std::string days = "\\d+D", months = "\\d+M(?:" + days + ")?",
                    years = "\\d+Y(?:" + months + ")?";
  return {
      {"date", date},
      {"time", time},
      {"date-time", date + "T" + time},
      {"duration",
       "P(?:\\d+W|(?:" + years + "|" + months + "|" + days + ")(?:" + clock + ")?|" + clock + ")"},
      {"email", atom + "(?:\\." + atom + ")*@" + host},
      {"hostname", host},
      {"ipv4", byte + "(?:\\." + byte + "){3}"},
      {"ipv6", ipv6},
      {"uri", uri("", false)},
      {"uri-reference", uri("", true)},
      {"iri", uri(beyond_ascii, false)},
      {"iri-reference", uri(beyond_ascii, true)},
      {"uuid", "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
      {"json-pointer", "(?:/(?:[^~/]|~[01])*)*"},
  };
}

}  // namespace

Pattern format_pattern(const std::string& name, const std::string& pointer) {
  static const std::map<std::string, std::string> formats = make_formats();
  const auto found = formats.find(name);
  if (found == formats.end())
    fail_grammar(pointer,
                 "the format \"{}\" is not enforced; say it by \"pattern\", or leave it out",
                 name.substr(0, 64));
  return whole_match(parse_pattern(found->second));
}

Automaton texts_of(const StringShape& shape, SchemaExpander& expander) {
  const int max = shape.max_length < 0
                      ? Pattern::kNoLimit
                      : static_cast<int>(std::min<int64_t>(shape.max_length, 1 << 20));
  const int min = static_cast<int>(std::min<int64_t>(shape.min_length, 1 << 20));
  std::vector<Automaton> parts;
  if (shape.allowed) parts.push_back(Automaton::of_texts(*shape.allowed));
  for (const std::string& source : shape.patterns) parts.push_back(expander.pattern(source));
  for (const std::string& name : shape.formats)
    parts.push_back(Automaton::of(format_pattern(name, "")));
  if (min > 0 || max != Pattern::kNoLimit) parts.push_back(Automaton::lengths(min, max));
  if (parts.empty()) parts.push_back(Automaton::lengths(0, Pattern::kNoLimit));
  Automaton out = std::move(parts.front());
  for (size_t i = 1; i < parts.size(); ++i) out = out & parts[i];
  for (const std::string& source : shape.not_patterns) out = out - expander.pattern(source);
  if (!shape.excluded.empty()) out = out - Automaton::of_texts(shape.excluded);
  return out;
}

}  // namespace quern

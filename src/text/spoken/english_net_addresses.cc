// SPDX-License-Identifier: Apache-2.0
// Mail addresses, URLs and domains in English text, by the rules of WeTextProcessing 1.0.3.
#include <array>

#include "text/spoken/english_addresses.h"
#include "text/spoken/english_numbers.h"

namespace quern::spoken {
namespace {

constexpr size_t kLongestAddress = 128;

constexpr std::array<std::u32string_view, 12> kCommonDomains = {U".com",
                                                                U".org",
                                                                U".gov",
                                                                U".uk",
                                                                U".fr",
                                                                U".net",
                                                                U".br",
                                                                U".in",
                                                                U".ru",
                                                                U".de",
                                                                U".it",
                                                                U".jpg"};

std::string_view symbol_name(char32_t c) {
  constexpr std::u32string_view kSymbols = U".-_!#$%&'*+/=?^`|~,";
  constexpr std::array<std::string_view, 19> kNames = {"dot",
                                                       "dash",
                                                       "underscore",
                                                       "exclamation mark",
                                                       "number sign",
                                                       "dollar sign",
                                                       "percent",
                                                       "ampersand",
                                                       "quote",
                                                       "asterisk",
                                                       "plus",
                                                       "slash",
                                                       "equal sign",
                                                       "question mark",
                                                       "circumflex",
                                                       "right single quote",
                                                       "vertical bar",
                                                       "tilde",
                                                       "comma"};
  const size_t index = kSymbols.find(c);
  return index == std::u32string_view::npos ? std::string_view() : kNames[index];
}

bool is_accepted(char32_t c) {
  return is_ascii_letter(c) || is_ascii_digit(c) || !symbol_name(c).empty();
}

bool is_letter_at(std::u32string_view text, size_t at) {
  return at < text.size() && is_ascii_letter(text[at]);
}

// The end of the characters that an address may have, from text[at] on.
size_t address_end(std::u32string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && end - at < kLongestAddress && is_accepted(text[end])) ++end;
  return end;
}

// Letters stay, numbers and signs become words.
std::string say(std::u32string_view address) {
  std::string out;
  for (size_t at = 0; at < address.size();) {
    if (starts_with(address, at, U".jpg")) {
      out += " dot jpeg ";
      at += 4;
    } else if (is_ascii_digit(address[at])) {
      const std::u32string_view digits = address.substr(at, count_digits(address, at));
      const std::string number = english_integer(digits);
      out += " " + (number.empty() ? english_digits(digits) : with_and(number)) + " ";
      at += digits.size();
    } else if (is_ascii_letter(address[at])) {
      out += static_cast<char>(address[at++]);
    } else {
      out += " " + std::string(symbol_name(address[at++])) + " ";
    }
  }
  return out;
}

// The same with one space where there are several.
std::string with_single_spaces(const std::string& text) {
  std::string out;
  for (const char c : text)
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
  return out;
}

// Where the last common domain of text[begin, end) begins, behind at least one character; npos if
// there is none.
size_t last_common_domain(std::u32string_view text, size_t begin, size_t end) {
  size_t found = std::u32string_view::npos;
  for (size_t at = begin + 1; at < end; ++at)
    for (const std::u32string_view domain : kCommonDomains)
      if (starts_with(text, at, domain) && at + domain.size() <= end) found = at;
  return found;
}

// The last place where a domain behind a user's name or a protocol may end.
size_t strip_marks(std::u32string_view text, size_t begin, size_t end) {
  while (end > begin && !is_ascii_letter(text[end - 1]) && !is_ascii_digit(text[end - 1]) &&
         text[end - 1] != U'/')
    --end;
  return end;
}

void add_mail(std::u32string_view text, size_t at, Readings& out) {
  const size_t sign = address_end(text, at);
  if (!is_at(text, sign, U'@') || !is_letter_at(text, sign + 1)) return;
  const size_t end = strip_marks(text, sign + 1, address_end(text, sign + 1));
  const std::u32string_view domain = text.substr(sign + 1, end - sign - 1);
  if (domain.size() < 2 || domain.find(U'.') == std::u32string_view::npos) return;
  out.push_back(
      {end, weight(1), with_single_spaces(say(text.substr(at, sign - at)) + " at " + say(domain))});
}

// The protocol's words and where the domain begins; `at` if there is none.
size_t read_protocol(std::u32string_view text, size_t at, std::string& spoken) {
  const size_t begin = at;
  if (starts_with(text, at, U"https://")) {
    spoken = "HTTPS colon slash slash ";
    at += 8;
  } else if (starts_with(text, at, U"http://")) {
    spoken = "HTTP colon slash slash ";
    at += 7;
  }
  if (starts_with(text, at, U"www.")) {
    spoken += "WWW dot ";
    at += 4;
  }
  if (at == begin && starts_with(text, at, U"file:///")) {
    spoken = "file colon slash slash slash ";
    at += 8;
  }
  return at;
}

void add_url(std::u32string_view text, size_t at, Readings& out) {
  std::string protocol;
  const size_t begin = read_protocol(text, at, protocol);
  if (begin == at || !is_letter_at(text, begin)) return;
  const size_t all = address_end(text, begin);
  const size_t end = strip_marks(text, begin, all);
  if (end < begin + 2) return;
  // What names "www" costs the reference next to nothing.
  const bool has_www = protocol.ends_with("WWW dot ");
  const Cost cost = weight(has_www ? -999 : 1);
  out.push_back({end, cost, with_single_spaces(protocol + say(text.substr(begin, end - begin)))});
  // With a mark behind it the reference reads the last letter before .com, the domain and the mark
  // as one more address, as that costs less than an address and a mark.
  const size_t domain = last_common_domain(text, begin + 1, all);
  if (end == all || domain == std::u32string_view::npos || domain < begin + 3) return;
  if (is_letter_at(text, domain - 1))
    out.push_back({domain - 1,
                   cost,
                   with_single_spaces(protocol + say(text.substr(begin, domain - 1 - begin)))});
}

void add_domain(std::u32string_view text, size_t at, Readings& out) {
  const size_t end = address_end(text, at);
  const size_t domain = last_common_domain(text, at, end);
  if (domain == std::u32string_view::npos) return;
  out.push_back({end, weight(1), with_single_spaces(say(text.substr(at, end - at)))});
}

}  // namespace

void add_english_net_addresses(std::u32string_view text, size_t at, Readings& out) {
  if (!is_letter_at(text, at)) return;
  add_mail(text, at, out);
  add_url(text, at, out);
  add_domain(text, at, out);
}

}  // namespace quern::spoken

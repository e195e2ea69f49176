// SPDX-License-Identifier: Apache-2.0
// Telephone numbers in English text, by the rules of WeTextProcessing 1.0.3.
#include <array>

#include "text/spoken/english_addresses.h"
#include "text/spoken/english_numbers.h"

namespace quern::spoken {
namespace {

constexpr Cost kCost = weight(1);
constexpr size_t kSubscriberDigits = 7;

// The words before a number that belong to it.
struct Prompt {
  std::u32string_view written;
  std::string_view spoken;
};
constexpr std::array<Prompt, 5> kPhonePrompts = {{
    {U"call me at", "call me at"},
    {U"reach at", "reach at"},
    {U"reached at", "reached at"},
    {U"my number is", "my number is"},
    {U"hit me up at", "hit me up at"},
}};
constexpr std::array<Prompt, 2> kIpPrompts = {{
    {U"IP address is", "IP address is"},
    {U"IP is", "IP is"},
}};
constexpr std::array<Prompt, 4> kSecurityPrompts = {{
    {U"ssn is", "SSN is"},
    {U"SSN is", "SSN is"},
    {U"ssn", "SSN"},
    {U"SSN", "SSN"},
}};

std::string digit_word(char32_t digit) {
  return english_integer(std::u32string(1, digit));
}

// Digits of text[at…], spaces between.
std::string spell(std::u32string_view text, size_t at, size_t count) {
  std::string out;
  for (size_t i = at; i < at + count; ++i) out += (i > at ? " " : "") + digit_word(text[i]);
  return out;
}

// Seven digits or letters with - or . between any of them, then up to four digits of an extension.
void add_subscriber(std::u32string_view text, size_t at, const std::string& before, Readings& out) {
  std::string spoken = before;
  char32_t joint = 0;
  for (size_t count = 0; count < kSubscriberDigits; ++count) {
    if (at >= text.size()) return;
    const bool is_digit = is_ascii_digit(text[at]);
    if (!is_digit && !is_ascii_letter(text[at])) return;
    spoken += is_digit ? digit_word(text[at]) : std::string(1, static_cast<char>(text[at]));
    ++at;
    const bool is_last = count + 1 == kSubscriberDigits;
    if (is_last) {
      out.push_back({at, kCost, spoken});
      const size_t extension = count_digits(text, at, 4);
      for (size_t digits = 1; digits <= extension; ++digits)
        out.push_back({at + digits, kCost, spoken + " " + spell(text, at, digits)});
    }
    const bool is_joint = at < text.size() && (text[at] == U'-' || text[at] == U'.') &&
                          (joint == 0 || joint == text[at]);
    if (is_joint) {
      joint = text[at++];
      spoken += is_digit ? ", " : " ";
    } else if (is_digit) {
      spoken += " ";
    }
  }
  if (spoken.ends_with(", ")) {
    out.push_back({at, kCost, spoken});
    const size_t extension = count_digits(text, at, 4);
    for (size_t digits = 1; digits <= extension; ++digits)
      out.push_back({at + digits, kCost, spoken + " " + spell(text, at, digits)});
  }
}

// Three digits: 415-, 415., (415), (415)-; 800 is "eight hundred".
void add_area(std::u32string_view text, size_t at, const std::string& before, Readings& out) {
  const bool is_bracketed = is_at(text, at, U'(');
  if (is_bracketed) ++at;
  if (count_digits(text, at, 3) < 3) return;
  const bool is_free = starts_with(text, at, U"800");
  const std::string area = before + (is_free ? "eight hundred" : spell(text, at, 3)) + ", ";
  at += 3;
  if (!is_bracketed) {
    if (is_at(text, at, U'-') || is_at(text, at, U'.')) add_subscriber(text, at + 1, area, out);
    return;
  }
  if (!is_at(text, at, U')')) return;
  add_subscriber(text, at + 1, area, out);
  if (is_at(text, at + 1, U' ') || is_at(text, at + 1, U'-'))
    add_subscriber(text, at + 2, area, out);
}

void add_after_country(std::u32string_view text,
                       size_t at,
                       const std::string& country,
                       Readings& out) {
  add_area(text, skip_spaces(text, is_at(text, at, U'-') ? at + 1 : at), country + " ", out);
}

void add_with_country(std::u32string_view text,
                      size_t at,
                      const std::string& before,
                      Readings& out) {
  const bool has_plus = is_at(text, at, U'+');
  if (has_plus) ++at;
  const size_t digits = count_digits(text, at, 3);
  for (size_t count = 1; count <= digits; ++count)
    add_after_country(
        text, at + count, before + (has_plus ? "plus " : "") + spell(text, at, count) + ",", out);
}

// 10.0.0.1
void add_ip(std::u32string_view text, size_t at, const std::string& before, Readings& out) {
  std::string spoken = before;
  for (int part = 0; part < 4; ++part) {
    if (part > 0) {
      if (!is_at(text, at, U'.')) return;
      ++at;
      spoken += " dot ";
    }
    const size_t digits = count_digits(text, at, 3);
    if (digits == 0) return;
    spoken += spell(text, at, digits);
    at += digits;
  }
  out.push_back({at, kCost, spoken});
}

// 123-45-6789
void add_security_number(std::u32string_view text,
                         size_t at,
                         const std::string& before,
                         Readings& out) {
  if (count_digits(text, at, 4) != 3 || !is_at(text, at + 3, U'-') ||
      count_digits(text, at + 4, 3) != 2 || !is_at(text, at + 6, U'-') ||
      count_digits(text, at + 7, 4) < 4)
    return;
  out.push_back({at + 11,
                 kCost,
                 before + spell(text, at, 3) + ", " + spell(text, at + 4, 2) + ", " +
                     spell(text, at + 7, 4)});
}

}  // namespace

void add_english_telephones(std::u32string_view text, size_t at, Readings& out) {
  add_area(text, at, "", out);
  add_with_country(text, at, "", out);
  for (const Prompt& prompt : kPhonePrompts) {
    if (!starts_with(text, at, prompt.written)) continue;
    const size_t end = at + prompt.written.size();
    add_after_country(text, end, std::string(prompt.spoken), out);
    add_with_country(text, skip_spaces(text, end), std::string(prompt.spoken) + " ", out);
  }
  add_ip(text, at, "", out);
  for (const Prompt& prompt : kIpPrompts)
    if (starts_with(text, at, prompt.written))
      add_ip(text,
             skip_spaces(text, at + prompt.written.size()),
             std::string(prompt.spoken) + " ",
             out);
  add_security_number(text, at, "", out);
  for (const Prompt& prompt : kSecurityPrompts)
    if (starts_with(text, at, prompt.written))
      add_security_number(text,
                          skip_spaces(text, at + prompt.written.size()),
                          std::string(prompt.spoken) + " ",
                          out);
}

}  // namespace quern::spoken

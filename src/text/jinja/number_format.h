// SPDX-License-Identifier: Apache-2.0
// Numbers and text in a field of a given width: what "%5.2f" and "{:>8,}" have in common.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace quern::jinja {

struct FieldSpec {
  std::string fill = " ";  // one character
  char align = 0;          // '<', '>', '^', '=' (after the sign); 0: the default of the type
  char sign = '-';         // '-', '+' or ' '
  bool is_alternate = false;
  char grouping = 0;  // ',' or '_'
  Int width = 0;
  Int precision = -1;  // -1: not given
  char type = 0;       // a letter of the mini-language; 0: none
};

// Each throws invalid_argument for a type letter that does not suit, exhausted for a width past the
// limit on output.
std::string format_field(const Value& v, const FieldSpec& spec);
std::string format_text_field(std::string_view text, const FieldSpec& spec);

// Throws exhausted for one that is absurd.
void require_modest(Int width_or_precision);

// The mini-language of str.format: [[fill]align][sign][#][0][width][,_][.precision][type].
FieldSpec parse_field_spec(std::string_view text);

// Python's round(): to `digits` decimals, halves of the exact binary value to even.
double round_to(double value, Int digits);

}  // namespace quern::jinja

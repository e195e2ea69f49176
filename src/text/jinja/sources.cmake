# SPDX-License-Identifier: Apache-2.0
set(JINJA_SOURCES
  jinja/access.cc jinja/arguments.cc jinja/brace_format.cc jinja/budget.cc jinja/chat_template.cc jinja/conversion_filters.cc
  jinja/expression_parser.cc jinja/expressions.cc jinja/filters.cc jinja/functions.cc jinja/html.cc jinja/interpreter.cc
  jinja/lexer.cc jinja/loop.cc jinja/macro.cc jinja/methods.cc jinja/number_filters.cc jinja/number_format.cc
  jinja/objects.cc jinja/operators.cc jinja/parser.cc jinja/percent_format.cc jinja/python_text.cc jinja/repr.cc
  jinja/selection_filters.cc jinja/sequence_filters.cc jinja/slice.cc jinja/sort.cc jinja/statements.cc jinja/strftime.cc
  jinja/string_literal.cc jinja/strip.cc jinja/tests.cc jinja/text_filters.cc jinja/text_methods.cc jinja/text_search.cc
  jinja/tojson.cc jinja/value.cc)
set(JINJA_TESTS jinja/golden_test.cc jinja/jinja_test.cc)
set(JINJA_FUZZERS jinja/jinja_fuzz.cc)
set(JINJA_LIBS)

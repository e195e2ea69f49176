// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/chat_template.h"

namespace quern {
namespace {

std::string render(std::string_view source,
                   const Json& variables = Json::object(),
                   const TemplateLimits& limits = {}) {
  return ChatTemplate(source, limits).render(variables, 1'741'944'413);  // 2025-03-14 09:26:53
}

struct Failure {
  ErrorCode code;
  std::string message;
};

Failure failure(std::string_view source, const TemplateLimits& limits = {}) {
  try {
    ADD_FAILURE() << "no error, but: " << render(source, Json::object(), limits).substr(0, 100);
  } catch (const Error& e) {
    return {e.code(), e.what()};
  }
  return {ErrorCode::internal, ""};
}

TEST(Jinja, PrintsValuesAsPythonDoes) {
  EXPECT_EQ(render("{{ [1, 2.0, none, true, 'a\\'b', (1,), {'k': 1e16}] }}"),
            R"([1, 2.0, None, True, "a'b", (1,), {'k': 1e+16}])");
  EXPECT_EQ(render("{{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 70 }} {{ 1 / 3 }}"),
            "3.5 -4 2 1180591620717411303424 0.3333333333333333");
}

TEST(Jinja, ScopesEndWithTheirBlocks) {
  EXPECT_EQ(render("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}"), "1");
  EXPECT_EQ(
      render(
          "{% set n = namespace(x=1) %}{% for i in [1] %}{% set n.x = 2 %}{% endfor %}{{ n.x }}"),
      "2");
  EXPECT_EQ(render("{% macro m() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ m() }}"), "5");
}

TEST(Jinja, LoopConditionSeesWhatTheBodyChanges) {
  EXPECT_EQ(render("{% set n = namespace(go=true) %}{% for i in [1, 2, 3] if n.go %}{{ i }}{% set "
                   "n.go = i < 2 %}{% endfor %}"),
            "12");
}

TEST(Jinja, MutationIsRefused) {
  EXPECT_EQ(failure("{% set l = [1] %}{{ l.append(2) }}").code, ErrorCode::invalid_argument);
  EXPECT_EQ(failure("{{ {}.update(a=1) }}").code, ErrorCode::invalid_argument);
  EXPECT_EQ(failure("{{ ''.__class__.mro() }}").code, ErrorCode::invalid_argument);
}

TEST(Jinja, SyntaxErrorsNameLineAndExpectation) {
  const auto has = [](const Failure& f, std::string_view text) {
    return f.code == ErrorCode::invalid_argument && f.message.find(text) != std::string::npos;
  };
  EXPECT_TRUE(has(failure("a\n{% if x %}\nb"), "line 3: expected {% endif %}"))
      << failure("a\n{% if x %}\nb").message;
  EXPECT_TRUE(has(failure("\n{{ 1 + }}"), "line 2: expected an expression, got '}}'"));
  EXPECT_TRUE(has(failure("{% for x on y %}{% endfor %}"), "expected 'in', got 'on'"));
  EXPECT_TRUE(has(failure("{{ 'abc }}"), "expected ' at the end of a string"));
  EXPECT_TRUE(has(failure("{{ x | nothing }}"), "'nothing'"));
  EXPECT_TRUE(has(failure("{% break %}"), "inside a loop"));
}

TEST(Jinja, ErrorsOfARenderingNameTheirLine) {
  EXPECT_EQ(failure("a\n{{ raise_exception('roles must alternate') }}").message,
            "chat template, line 2: roles must alternate");
}

TEST(Jinja, FeaturesOutsideTheSubsetAreNamed) {
  for (const char* source :
       {"{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{{ 1 | pprint }}"}) {
    EXPECT_EQ(failure(source).code, ErrorCode::unsupported) << source;
  }
}

TEST(Jinja, LimitsEndWhatWouldNot) {
  const TemplateLimits small{.max_output_bytes = 100'000, .max_steps = 200'000, .max_depth = 50};
  for (const char* source : {
           "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
           "{{ 'x' * 10**9 }}",
           "{{ [0] * 10**9 }}",
           "{{ range(10**9) }}",
           "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
           "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
           "{% set n = namespace(l=[]) %}{% for i in range(99999) %}{% set n.l = [n.l] %}{% endfor "
           "%}",
           "{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% "
           "endfor %}{{ n.l }}",
           "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% "
           "endfor %}",
           "{{ '%99999999d' % 1 }}",
           "{{ 'x'.center(10**12) }}",
           "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
       }) {
    EXPECT_EQ(failure(source, small).code, ErrorCode::exhausted) << source;
  }
}

TEST(Jinja, IntegersThatOverflowAreErrors) {
  EXPECT_EQ(failure("{{ 10 ** 40 }}").code, ErrorCode::invalid_argument);
  EXPECT_EQ(failure("{{ (2 ** 126) * 4 }}").code, ErrorCode::invalid_argument);
  EXPECT_EQ(failure(std::string("{{ 1") + std::string(60, '0') + " }}").code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(failure("{{ 1 // 0 }}").code, ErrorCode::invalid_argument);
}

TEST(Jinja, DeepNestingIsRefusedBeforeTheStackEnds) {
  for (const auto& [open, close] :
       {std::pair{"(", ")"}, {"[", "]"}, {"not ", ""}, {"-", ""}, {"x(", ")"}}) {
    std::string source = "{{ ";
    for (int i = 0; i < 100'000; ++i) source += open;
    source += "1";
    for (int i = 0; i < 100'000; ++i) source += close;
    EXPECT_EQ(failure(source + " }}").code, ErrorCode::invalid_argument) << open;
  }
  std::string chain = "{{ 1", blocks;
  for (int i = 0; i < 100'000; ++i) chain += "+1", blocks += "{% if 1 %}";
  EXPECT_EQ(failure(chain + " }}").code, ErrorCode::invalid_argument);
  EXPECT_EQ(failure(blocks).code, ErrorCode::invalid_argument);
}

TEST(Jinja, CyclesOfReferencesAreFreed) {  // the leak checker of the sanitizer judges
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.self = n %}{% macro m() %}{{ m }}{% endmacro "
                   "%}{% set n.m = m %}"
                   "{% for x in [n] %}{{ loop.changed(loop) }}{% set n.l = loop %}{% endfor %}"),
            "True");
}

TEST(Jinja, MentionsTellsWhatIsRead) {
  const ChatTemplate chat("{% macro m(a) %}{{ tools }}{% endmacro %}{% set enable_thinking = 1 %}");
  EXPECT_TRUE(chat.mentions("tools"));
  EXPECT_FALSE(chat.mentions("enable_thinking"));
  EXPECT_FALSE(chat.mentions("documents"));
}

TEST(Jinja, BrokenUtf8IsRefusedInTheTemplateAndReplacedInVariables) {
  EXPECT_EQ(failure("a\xff").code, ErrorCode::invalid_argument);
  EXPECT_EQ(render("{{ x }}", {{"x", "a\xff"}}), "a\xEF\xBF\xBD");
}

}  // namespace
}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// JSON schemas as grammars: which instances pass, and which schemas are refused and where.
#include <gtest/gtest.h>

#include "sampling/grammar/grammar_compiler.h"
#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

const GrammarCompiler& compiler() {
  static const GrammarCompiler shared;
  return shared;
}

bool accepts(const Grammar& grammar, const std::string& text) {
  const auto state = grammar.start();
  for (const char c : text)
    if (!state->accept(static_cast<unsigned char>(c))) return false;
  return state->accept(GrammarCompiler::kByteEnd);
}

struct Case {
  const char* schema;
  std::vector<std::string> valid, invalid;
};

void check(const Case& c) {
  SCOPED_TRACE(c.schema);
  std::shared_ptr<const Grammar> grammar;
  ASSERT_NO_THROW(grammar = compiler().compile({GrammarSpec::Kind::json_schema, c.schema})) << [&] {
    try {
      translated({GrammarSpec::Kind::json_schema, c.schema});
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
    return std::string("xgrammar");
  }();
  for (const std::string& text : c.valid) EXPECT_TRUE(accepts(*grammar, text)) << text;
  for (const std::string& text : c.invalid) EXPECT_FALSE(accepts(*grammar, text)) << text;
}

void check_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) check(c);
}

TEST(SchemaGrammar, Types) {
  check_all({
      {R"({})",
       {"null", "true", "-1.5e3", R"("a\"\u00e9b")", R"([1, {"a": []}])", "{}"},
       {"", "nul", "01", "[1,]", R"("\ud800")"}},
      {R"(true)", {"1", "[]"}, {"x"}},
      {R"({"type": "integer"})", {"0", "-12"}, {"1.5", "01", "\"1\"", "1e2"}},
      {R"({"type": "number"})", {"0.5", "1e-7", "3"}, {"1e999", ".5", "null"}},
      {R"({"type": ["string", "null"]})", {"\"\"", "null"}, {"1", "true"}},
      {R"({"type": "boolean"})", {"true", "false"}, {"0", "\"true\""}},
      {R"({"type": "object"})", {R"({"a":1,"b":{"c":[]}})", "{}"}, {"[]", "{"}},
  });
}

TEST(SchemaGrammar, Numbers) {
  check_all({
      {R"({"minimum": 1.5, "maximum": 20})",
       {"1.5", "1.50", "2", "19.99", "20", "20.0", "\"x\""},
       {"1.49", "1", "20.01", "21", "-2", "100"}},
      {R"({"type": "integer", "exclusiveMinimum": -3, "exclusiveMaximum": 3})",
       {"-2", "0", "2"},
       {"-3", "3", "-30", "1.5"}},
      {R"({"type": "integer", "minimum": 18, "maximum": 130})",
       {"18", "99", "130"},
       {"17", "131", "1", "1000"}},
      {R"({"type": "number", "maximum": -0.5})", {"-0.5", "-7", "-0.51"}, {"-0.4", "0", "1"}},
      {R"({"type": "integer", "multipleOf": 7})", {"0", "-14", "21"}, {"1", "22"}},
      {R"({"type": "number", "multipleOf": 0.25})",
       {"0.25", "1", "1.750", "-3.5"},
       {"0.3", "1.125"}},
      {R"({"enum": [1, -2.5, "a", null, [1, 2], {"k": true}]})",
       {"1", "-2.5", "\"a\"", "null", "[1, 2]", R"({"k": true})"},
       {"2", "[1]", "{}", "true"}},
      {R"({"const": 0})", {"0", "0.0"}, {"false", "1", "\"\""}},
      {R"({"type": "integer", "const": 4})", {"4"}, {"4.0", "5"}},
      {R"({"enum": [[1]]})", {"[1]", "[1.0]"}, {"[true]", "[]", "[1,1]"}},
      {R"({"type": "integer", "const": 4})", {"4"}, {"4.0", "5"}},
      {R"({"enum": [[1]]})", {"[1]", "[1.0]"}, {"[true]", "[]", "[1,1]"}},
  });
}

TEST(SchemaGrammar, Strings) {
  check_all({
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {"\"ab\"", "\"äöü\"", R"("\"\n")", "\"😀😀\""},
       {"\"a\"", "\"abcd\"", "\"\""}},
      {R"({"type": "string", "pattern": "^a+[0-9]{2}$"})",
       {"\"a12\"", "\"aaa99\""},
       {"\"12\"", "\"a1\"", "\"ba12\"", "\"a123\""}},
      {R"({"type": "string", "pattern": "b"})", {"\"abc\"", "\"b\""}, {"\"ac\"", "\"\""}},
      {R"({"type": "string", "pattern": "^\\S+$", "minLength": 2, "maxLength": 4})",
       {"\"ab\"", "\"\\\"\\\"\""},
       {"\"a\"", "\"a b\"", "\"abcde\""}},
      {R"({"type": "string", "not": {"enum": ["no", "never"]}})",
       {"\"yes\"", "\"n\"", "\"nov\""},
       {"\"no\"", "\"never\""}},
      {R"({"type": "string", "format": "date"})",
       {"\"2024-02-29\"", "\"1999-12-31\""},
       {"\"2023-02-29\"", "\"2024-13-01\"", "\"x\""}},
      {R"({"type": "string", "format": "ipv4"})",
       {"\"127.0.0.1\""},
       {"\"256.0.0.1\"", "\"1.2.3\""}},
      {R"({"type": "string", "format": "uuid"})",
       {"\"2eb8aa08-aa98-11ea-b4aa-73b441d16380\""},
       {"\"2eb8aa08\""}},
      {R"({"type": "string", "pattern": "\"\\\\"})", {R"("\"\\")"}, {R"("\\\"")"}},
  });
}

TEST(SchemaGrammar, Arrays) {
  check_all({
      {R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2})",
       {"[1]", "[1, 2]"},
       {"[]", "[1,2,3]", "[\"a\"]"}},
      {R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false})",
       {"[]", "[1]", "[1, \"a\"]"},
       {"[1, 2]", "[1,\"a\",3]", "[\"a\"]"}},
      {R"({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 2})",
       {"[1,null]", "[1,null,null]"},
       {"[1]", "[1,2]"}},
      {R"({"type": "array", "contains": {"const": 5}})", {"[5]", "[1, 5, \"x\"]"}, {"[]", "[1,2]"}},
      {R"({"type": "array", "contains": {"type": "string"}, "minContains": 2, "maxContains": 3})",
       {"[\"a\",\"b\"]", "[1,\"a\",\"b\",\"c\",2]"},
       {"[\"a\"]", "[\"a\",\"b\",\"c\",\"d\"]", "[]"}},
      {R"({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": true, "minItems": 1})",
       {"[\"c\", \"a\"]"},
       {"[\"a\",\"a\"]", "[]"}},
  });
}

TEST(SchemaGrammar, Objects) {
  check_all({
      {R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"], "additionalProperties": false})",
       {R"({"a": 1})", R"({"a": 1, "b": "x"})"},
       {"{}", R"({"b":"x"})", R"({"a":1,"c":2})", R"({"a":1,"a":2})", R"({"a":"x"})"}},
      {R"({"type": "object", "properties": {"a": {"type": "integer"}}})",
       {"{}", R"({"a":1})", R"({"x":null,"a":1,"ab":"y"})"},
       {R"({"a":"s"})", R"({"x":1,"a":"s"})", "{\"\\u0061\":\"s\"}"}},
      {R"({"type": "object", "additionalProperties": {"type": "integer"}})",
       {R"({"k":1})", "{}"},
       {R"({"k":"s"})"}},
      {R"({"type": "object", "patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": {"type": "string"}})",
       {R"({"n_a":1,"b":"x"})"},
       {R"({"n_a":"x"})", R"({"b":1})"}},
      {R"({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "maxProperties": 2})",
       {R"({"ab":1,"c":2})", "{}"},
       {R"({"A":1})", R"({"a":1,"b":2,"c":3})"}},
      {R"({"type": "object", "minProperties": 1})", {R"({"ab":1})"}, {"{}"}},
      {R"({"type": "object", "properties": {"a": true, "b": true, "c": true}, "additionalProperties": false, "minProperties": 2, "maxProperties": 2})",
       {R"({"a":1,"c":2})"},
       {R"({"a":1})", R"({"a":1,"b":2,"c":3})"}},
      {R"({"type": "object", "dependentRequired": {"card": ["address"]}})",
       {"{}", R"({"address":1})", R"({"card":1,"address":2})"},
       {R"({"card":1})"}},
      {R"({"type": "object", "required": ["x", "y"]})",
       {R"({"x":1,"y":2})", R"({"y":1,"a":0,"x":2})"},
       {R"({"y":1})", R"({"y":1,"x":2,"y":3})"}},
      {R"({"const": {"a": 1, "b": {}}})",
       {R"({"b":{},"a":1})"},
       {R"({"a":1})", R"({"a":1,"b":{},"c":0})"}},
      {R"({"type": "object", "required": ["x", "y"]})",
       {R"({"x":1,"y":2})", R"({"y":1,"a":0,"x":2})"},
       {R"({"y":1})", R"({"y":1,"x":2,"y":3})"}},
      {R"({"const": {"a": 1, "b": {}}})",
       {R"({"b":{},"a":1})"},
       {R"({"a":1})", R"({"a":1,"b":{},"c":0})"}},
      {R"({"type": "object", "required": ["x"]})", {R"({"x":null,"y":1})"}, {R"({"y":1})"}},
  });
}

TEST(SchemaGrammar, Combinations) {
  check_all({
      {R"({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]})",
       {"3", "\"a\""},
       {"\"ab\"", "1.5"}},
      {R"({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}, "required": ["b"]}]})",
       {R"({"a":1,"b":null})"},
       {R"({"a":1})", R"({"a":1,"b":2})"}},
      {R"({"oneOf": [{"type": "integer"}, {"minimum": 2}]})", {"1", "2.5", "\"x\""}, {"3", "1.5"}},
      {R"({"oneOf": [{"properties": {"t": {"const": "a"}, "v": {"type": "integer"}}, "required": ["t", "v"]}, {"properties": {"t": {"const": "b"}, "v": {"type": "string"}}, "required": ["t", "v"]}]})",
       {R"({"t":"a","v":1})", R"({"t":"b","v":"x"})"},
       {R"({"t":"a","v":"x"})", R"({"t":"c","v":1})"}},
      {R"({"not": {"type": ["integer", "string"]}})", {"1.5", "null", "[]"}, {"1", "\"a\""}},
      {R"({"not": {"properties": {"foo": {"type": "string"}}, "type": "object"}})",
       {"1", R"({"foo":1})"},
       {R"({"foo":"x"})", "{}"}},
      {R"({"if": {"properties": {"k": {"const": 1}}, "required": ["k"]}, "then": {"required": ["a"]}, "else": {"required": ["b"]}, "type": "object"})",
       {R"({"k":1,"a":0})", R"({"k":2,"b":0})", R"({"b":0})"},
       {R"({"k":1,"b":0})", R"({"k":2,"a":0})", "{}"}},
      {R"({"allOf": [{"properties": {"a": true}}], "properties": {"b": true}, "unevaluatedProperties": false, "type": "object"})",
       {R"({"b":1,"a":2})", R"({"a":1,"b":2})", "{}"},
       {R"({"c":1})"}},
      {R"({"not": {"not": {"properties": {"a": true}}}, "properties": {"b": true}, "unevaluatedProperties": false, "type": "object"})",
       {R"({"b":1})"},
       {R"({"a":1})"}},
      {R"({"prefixItems": [true], "unevaluatedItems": {"type": "integer"}, "type": "array"})",
       {R"(["a",1])", "[]"},
       {R"(["a","b"])"}},
      {R"({"$ref": "#/$defs/list", "$defs": {"list": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/list"}}, "required": ["v"], "additionalProperties": false}}})",
       {R"({"v":1,"next":{"v":2}})"},
       {R"({"v":1,"next":{}})", "{}"}},
      {R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
  });
}

// What cannot be enforced, or is no schema, is refused where it stands.
TEST(SchemaGrammar, RefusesByPointer) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"properties": {"a": {"type": "array", "uniqueItems": true}}})",
       "/properties/a/uniqueItems"},
      {R"({"type": "string", "format": "credit-card"})", "/format"},
      {R"({"type": "string", "pattern": "(?=a)b"})", "/pattern"},
      {R"({"type": "string", "pattern": "(a)\\1"})", "/pattern"},
      {R"({"type": "string", "pattern": "a{1,9999}"})", "/pattern"},
      {R"({"$ref": "https://example.com/other.json"})", "/$ref"},
      {R"({"$ref": "#/$defs/none"})", "/$ref"},
      {R"({"type": "intger"})", "/type"},
      {R"({"properties": {"a": {"multipleOf": 0.123456789}}})", "/properties/a/multipleOf"},
      {R"({"properties": {"a": {"pattern": "^[a-z]+ [a-z]+$", "maxLength": 3000}}})",
       "/properties/a"},
      {R"({"type": "object", "minProperties": 3})", "/minProperties"},
      {R"({"not": {"patternProperties": {"a": {"type": "string"}}}})", "/not/patternProperties"},
      {R"({"allOf": [{"$ref": "#"}]})", ""},
      {R"({"type": "string", "enum": [1]})", ""},
      {R"(3)", ""},
  };
  for (const auto& [schema, pointer] : cases) {
    SCOPED_TRACE(schema);
    try {
      compiler().compile({GrammarSpec::Kind::json_schema, schema});
      FAIL() << "accepted";
    } catch (const GrammarError& error) {
      EXPECT_EQ(error.pointer(), pointer) << error.what();
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    }
  }
}

}  // namespace
}  // namespace quern

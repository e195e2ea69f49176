// SPDX-License-Identifier: Apache-2.0
// Fields that constrain an answer: how they are read, and what becomes of them in a job.
#include "api/structured_fields.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/generation_job.h"
#include "api/grammar_presets.h"
#include "api/scripted_service.h"
#include "sampling/grammar/grammar_compiler.h"

namespace quern {
namespace {

using Kind = GrammarSpec::Kind;

std::optional<Constraint> read(const std::string& body) {
  const Json json = parse_json(body, "request body");
  FieldReader fields(json);
  return constraint_of(fields);
}

std::string field_in_error(const std::string& body) {
  try {
    read(body);
  } catch (const RequestError& error) {
    return error.param();
  }
  return "no error";
}

TEST(StructuredFields, EveryWayToSayIt) {
  struct Case {
    const char* body;
    Kind kind;
    const char *text, *field;
  };
  const char* tag = R"({"type":"structural_tag","format":{"type":"any_text"}})";
  const std::vector<Case> cases = {
      {R"({"response_format": {"type": "json_object"}})", Kind::json_object, "", "response_format"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true,
           "schema": {"type": "object", "properties": {"b": {}, "a": {}}}}}})",
       Kind::json_schema,
       R"({"type":"object","properties":{"b":{},"a":{}}})",
       "response_format.json_schema.schema"},
      {R"({"structured_outputs": {"json": true}})",
       Kind::json_schema,
       "true",
       "structured_outputs.json"},
      {R"({"structured_outputs": {"regex": "a+"}})", Kind::regex, "a+", "structured_outputs.regex"},
      {R"({"structured_outputs": {"choice": ["yes", "n\"o"]}})",
       Kind::ebnf,
       R"(root ::= "yes" | "n\u0022o")",
       "structured_outputs.choice"},
      {R"({"structured_outputs": {"grammar": "root ::= \"a\""}})",
       Kind::ebnf,
       "root ::= \"a\"",
       "structured_outputs.grammar"},
      {R"({"structured_outputs": {"json_object": true}})",
       Kind::json_object,
       "",
       "structured_outputs.json_object"},
      {R"({"guided_json": "{\"type\":\"null\"}", "guided_decoding_backend": "auto"})",
       Kind::json_schema,
       R"({"type":"null"})",
       "guided_json"},
      {R"({"guided_regex": "b"})", Kind::regex, "b", "guided_regex"},
      {R"({"guided_choice": ["x"]})", Kind::ebnf, "root ::= \"x\"", "guided_choice"},
      {R"({"guided_grammar": "g"})", Kind::ebnf, "g", "guided_grammar"},
      {R"({"response_format": {"type": "structural_tag", "format": {"type": "any_text"}}})",
       Kind::structural_tag,
       tag,
       "response_format"},
  };
  for (const Case& c : cases) {
    const auto got = read(c.body);
    ASSERT_TRUE(got) << c.body;
    EXPECT_EQ(got->spec.kind, c.kind) << c.body;
    EXPECT_EQ(got->spec.text, c.text) << c.body;
    EXPECT_EQ(got->field, c.field) << c.body;
  }
  EXPECT_FALSE(read(R"({"response_format": {"type": "text"}})"));
  EXPECT_FALSE(read(R"({"response_format": null, "structured_outputs": {}})"));
}

TEST(StructuredFields, WrongOnesAreNamed) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"response_format": {"type": "yaml"}})", "response_format.type"},
      {R"({"response_format": {"type": "json_schema"}})", "response_format.json_schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}})",
       "response_format.json_schema.schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"schema": 3}}})",
       "response_format.json_schema.schema"},
      {R"({"structured_outputs": {"regex": ""}})", "structured_outputs.regex"},
      {R"({"structured_outputs": {"regex": 1}})", "structured_outputs.regex"},
      {R"({"structured_outputs": {"choice": []}})", "structured_outputs.choice"},
      {R"({"structured_outputs": {"choice": [1]}})", "structured_outputs.choice"},
      {R"({"structured_outputs": {"regex": "a", "choice": ["b"]}})", "structured_outputs.choice"},
      {R"({"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}})",
       "structured_outputs.regex"},
      {R"({"structured_outputs": {"regex": "a", "whitespace_pattern": " "}})",
       "structured_outputs.whitespace_pattern"},
      {R"({"structured_outputs": {"yaml": "a"}})", "structured_outputs.yaml"},
      {R"({"guided_json": "{"})", "guided_json"},
      {R"({"guided_json": {}, "guided_regex": "a"})", "guided_regex"},
      {R"({"ebnf": "root ::= \"a\""})", "ebnf"},
  };
  for (const auto& [body, field] : cases) EXPECT_EQ(field_in_error(body), field) << body;
}

GenerationJob job_of(const std::string& fields, const Service& service) {
  return completion_job(parse_json(R"({"prompt": ["a", "b"], )" + fields + "}", "request body"),
                        {.service = service, .id = "1", .created = 1, .seed = 1});
}

TEST(StructuredFields, TheJobCarriesTheGrammarForEachPrompt) {
  const ScriptedService service;
  const GenerationJob job = job_of(R"("structured_outputs": {"regex": "ab"}, "n": 2)", service);
  ASSERT_EQ(job.params.size(), 2u);
  ASSERT_TRUE(job.params[0].grammar);
  EXPECT_EQ(job.params[0].grammar, job.params[1].grammar);
  EXPECT_FALSE(job_of(R"("n": 1)", service).params[0].grammar);
}

TEST(StructuredFields, AnErrorNamesFieldAndPointer) {
  const ScriptedService service;
  try {
    job_of(R"("guided_json": {"properties": {"a": {"type": "string", "format": "nope"}}})",
           service);
    FAIL();
  } catch (const RequestError& error) {
    EXPECT_EQ(error.param(), "guided_json/properties/a/format");
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("nope"), std::string::npos);
  }
  EXPECT_THROW(job_of(R"("guided_regex": "a", "ignore_eos": true)", service), RequestError);
}

// Texts that a preset lets pass, byte by byte, and texts that it does not.
TEST(GrammarPresets, AutoGlmTakesActionsAndNothingElse) {
  const GrammarCompiler compiler;
  const auto accepts = [&](const Grammar& grammar, std::string_view text) {
    const auto state = grammar.start();
    for (const char c : text)
      if (!state->accept(static_cast<unsigned char>(c))) return false;
    return state->accept(GrammarCompiler::kByteEnd);
  };
  const auto action = compiler.compile(*grammar_preset("autoglm_action"));
  const auto whole = compiler.compile(*grammar_preset("autoglm"));
  for (const char* text : {"do(action=\"Tap\", element=[499,182])",
                           "do(action=\"Tap\", element=[0, 999], message=\"pay\")",
                           "do(action=\"Swipe\", start=[500,800], end=[500,20])",
                           "do(action=\"Type\", text=\"Zürich, 微信\")",
                           "do(action=\"Wait\", duration=\"2 seconds\")",
                           "do(action=\"Back\")",
                           "finish(message=\"Done.\")"}) {
    EXPECT_TRUE(accepts(*action, text)) << text;
    EXPECT_TRUE(accepts(*whole, text)) << text;
    EXPECT_TRUE(accepts(*whole, "<think>so</think><answer>" + std::string(text) + "</answer>"));
    EXPECT_FALSE(accepts(*action, "so " + std::string(text))) << text;
    EXPECT_FALSE(accepts(*whole, std::string(text) + " then")) << text;
  }
  for (const char* text : {"do(action=\"Tap\", element=[1000,1])",
                           "do(action=\"Tap\", element=[01,1])",
                           "do(action=\"Fly\")",
                           "do(action=\"Type\", text=\"a\"b\")",
                           "do(action=\"Back\", element=[1,2])",
                           "finish()"}) {
    EXPECT_FALSE(accepts(*action, text)) << text;
    EXPECT_FALSE(accepts(*whole, text)) << text;
  }
}

TEST(GrammarPresets, Lean4TakesOneBlock) {
  const GrammarCompiler compiler;
  const auto accepts = [&](const char* preset, std::string_view text) {
    const auto state = compiler.compile(*grammar_preset(preset))->start();
    for (const char c : text)
      if (!state->accept(static_cast<unsigned char>(c))) return false;
    return state->accept(GrammarCompiler::kByteEnd);
  };
  const std::string block =
      "```lean4\nimport Mathlib\n\ntheorem x (a : ℝ) :\n    a = a := by\n  simp [`foo, ``Nat]\n```";
  EXPECT_TRUE(accepts("lean4_block", block));
  EXPECT_TRUE(accepts("lean4", block));
  EXPECT_TRUE(accepts("lean4", "Here it is, with `sorry`:\n\n" + block + "\n"));
  EXPECT_FALSE(accepts("lean4_block", "So:\n" + block));
  EXPECT_FALSE(accepts("lean4", block + "\n" + block));
  EXPECT_FALSE(accepts("lean4", "text alone"));
  EXPECT_FALSE(accepts("lean4", "```lean4\nx"));
  EXPECT_FALSE(accepts("lean4", "```lean\nx\n```"));
  EXPECT_FALSE(accepts("lean4", "so " + block));
}

TEST(GrammarPresets, AreNamedInRequests) {
  const auto chosen = read(R"({"structured_outputs": {"preset": "autoglm_action"}})");
  ASSERT_TRUE(chosen.has_value());
  EXPECT_EQ(chosen->spec, *grammar_preset("autoglm_action"));
  EXPECT_EQ(chosen->field, "structured_outputs.preset");
  EXPECT_EQ(field_in_error(R"({"structured_outputs": {"preset": "autoglmm"}})"),
            "structured_outputs.preset");
  EXPECT_EQ(field_in_error(R"({"structured_outputs": {"preset": 1}})"),
            "structured_outputs.preset");
}

}  // namespace
}  // namespace quern

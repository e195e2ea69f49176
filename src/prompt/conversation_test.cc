// SPDX-License-Identifier: Apache-2.0
#include "prompt/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {
namespace {

using testing::HasSubstr;

Json read(const char* messages, bool takes_media) {
  std::vector<MediaPart> media;
  return read_conversation(parse_json(messages, "test"), takes_media, media);
}

std::string error_of(const char* messages, bool takes_media) {
  try {
    read(messages, takes_media);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
  return "no error";
}

TEST(Conversation, TextModelsGetStrings) {
  const Json out = read(
      R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n"}])",
      false);
  EXPECT_EQ(out.dump(), R"([{"role":"user","content":"a\nb","name":"n"}])");
}

TEST(Conversation, MediaModelsKeepPartsAndLoseData) {
  std::vector<MediaPart> media;
  const Json messages = parse_json(
      R"([{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
          {"type": "text", "text": "look"}, {"type": "video_url", "video_url": ["http://a/1.png"]}]}])",
      "test");
  const Json out = read_conversation(messages, true, media);
  EXPECT_EQ(
      out[1]["content"].dump(),
      R"([{"type":"image","image_url":{"url":"data:"}},{"type":"text","text":"look"},{"type":"video","video_url":["http://a/1.png"]}])");
  ASSERT_EQ(media.size(), 2u);
  EXPECT_EQ(media[0].where, "messages[1].content[0]");
  EXPECT_EQ((*media[0].part)["image_url"]["url"], "data:image/png;base64,AAAA");
  EXPECT_EQ(media[1].where, "messages[1].content[2]");
}

TEST(Conversation, MediaForATextModelAreNamed) {
  EXPECT_THAT(
      error_of(
          R"([{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}])",
          false),
      HasSubstr("messages[1].content[1]: this model takes text only"));
}

TEST(Conversation, WrongShapesAreNamed) {
  EXPECT_THAT(error_of("[]", true), HasSubstr("at least one message"));
  EXPECT_THAT(error_of("{}", true), HasSubstr("expected a list"));
  EXPECT_THAT(error_of(R"([{"content": "x"}])", true),
              HasSubstr("messages[0]: expected an object with a \"role\""));
  EXPECT_THAT(error_of(R"([{"role": "user", "content": 5}])", true),
              HasSubstr("messages[0].content: expected a string"));
  EXPECT_THAT(error_of(R"([{"role": "user", "content": [{"type": "file"}]}])", true),
              HasSubstr("messages[0].content[0]: expected a text part"));
  EXPECT_THAT(error_of(R"([{"role": "user", "content": ["x"]}])", false),
              HasSubstr("messages[0].content[0]"));
}

TEST(Conversation, ArgumentsOfToolCallsBecomeObjects) {
  const Json out = read(
      R"([{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1}"}}, {"function": {"name": "g", "arguments": ""}}]}])",
      false);
  EXPECT_EQ(out[0]["tool_calls"][0]["function"]["arguments"].dump(), R"({"a":1})");
  EXPECT_TRUE(out[0]["tool_calls"][1]["function"]["arguments"].is_object());
  EXPECT_THAT(
      error_of(R"([{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}])",
               false),
      HasSubstr("messages[0]"));
}

std::string continued(const char* source, const char* messages) {
  Json variables = Json::object();
  variables["messages"] = parse_json(messages, "test");
  return render_continued(ChatTemplate(source), std::move(variables), 0);
}

constexpr const char* kPlain =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}";
constexpr const char* kTrimming =
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}";

TEST(Continued, LeavesTheLastMessageOpen) {
  const char* messages = R"([{"role": "u", "content": "hi"}, {"role": "a", "content": "Sure, "}])";
  EXPECT_EQ(continued(kPlain, messages), "<u>hi<end><a>Sure, ");
  EXPECT_EQ(continued(kTrimming, messages), "<u>hi<end><a>Sure,");
}

TEST(Continued, FindsTheLastTextPart) {
  EXPECT_EQ(
      continued(
          "{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}",
          R"([{"role": "a", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}])"),
      "[one][two");
}

TEST(Continued, NeedsATextThatTheTemplateShows) {
  EXPECT_THROW(continued(kPlain, R"([{"role": "a", "content": null}])"), Error);
  EXPECT_THROW(continued("nothing", R"([{"role": "a", "content": "x"}])"), Error);
}

}  // namespace
}  // namespace quern

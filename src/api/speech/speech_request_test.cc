// SPDX-License-Identifier: Apache-2.0
// Forms, the fields of a transcription, and its written forms.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/api_error.h"
#include "api/speech/transcript_format.h"

namespace quern {
namespace {

using testing::HasSubstr;

constexpr const char* kType = "multipart/form-data; boundary=\"xy z\"";

std::string part(const std::string& head, const std::string& value) {
  return "--xy z\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + value + "\r\n";
}

std::string form_error(const std::string& body, const std::string& type = kType) {
  try {
    parse_form_data(body, type);
  } catch (const RequestError& e) {
    return e.what();
  }
  return "no error";
}

std::string field_error(const std::string& name, const std::string& value) {
  try {
    std::vector<std::string> ignored;
    TranscriptionRequest::parse({{"file", "a.wav", "abc"}, {name, "", value}}, false, ignored);
  } catch (const RequestError& e) {
    return e.what();
  }
  return "no error";
}

TEST(FormData, PartsKeepTheirBytes) {
  const std::string value("a\r\n--xy\0\r\n", 10);
  const std::string body = "preamble\r\n" +
                           part("name=\"file\"; filename=\"a \\\"b\\\".wav\"", value) +
                           part("name=model", "m") + part("name=\"empty\"", "") + "--xy z--\r\n";
  const auto parts = parse_form_data(body, kType);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].name, "file");
  EXPECT_EQ(parts[0].file_name, "a \"b\".wav");
  EXPECT_EQ(parts[0].value, value);
  EXPECT_EQ(parts[1].value, "m");
  EXPECT_EQ(parts[2].value, "");
}

TEST(FormData, WhatIsNoFormIsRefused) {
  const std::string good = part("name=a", "1") + "--xy z--";
  EXPECT_EQ(form_error(good), "no error");
  EXPECT_THAT(form_error(good, "application/json"), HasSubstr("must be a form"));
  EXPECT_THAT(form_error(good, "multipart/form-data"), HasSubstr("expected a boundary"));
  EXPECT_THAT(form_error(""), HasSubstr("holds no part"));
  for (size_t cut = 0; cut < good.size(); ++cut)
    EXPECT_NE(form_error(good.substr(0, cut)), "no error") << cut;
  EXPECT_THAT(form_error("--xy z\r\n\r\n\r\nvalue\r\n--xy z--"), HasSubstr("has no name"));
  EXPECT_THAT(form_error(part("name=" + std::string(9000, 'a'), "1") + "--xy z--"),
              HasSubstr("headers of at most"));
  std::string many;
  for (int i = 0; i < 100; ++i) many += part("name=a", "1");
  EXPECT_THAT(form_error(many + "--xy z--"), HasSubstr("at most 64 parts"));
}

TEST(TranscriptionRequest, ReadsItsFields) {
  std::vector<std::string> ignored;
  const auto r = TranscriptionRequest::parse({{"file", "a.wav", "abc"},
                                              {"model", "", "whisper"},
                                              {"language", "", "en"},
                                              {"temperature", "", "0.5"},
                                              {"response_format", "", "srt"},
                                              {"timestamp_granularities[]", "", "segment"},
                                              {"what", "", "ever"}},
                                             false,
                                             ignored);
  EXPECT_EQ(r.file, "abc");
  EXPECT_EQ(r.format, TranscriptFormat::srt);
  EXPECT_TRUE(r.has_times());
  EXPECT_DOUBLE_EQ(r.temperature.value(), 0.5);
  EXPECT_THAT(ignored, testing::ElementsAre("what"));
}

TEST(TranscriptionRequest, NamesTheFieldThatIsWrong) {
  EXPECT_THAT(field_error("temperature", "warm"), HasSubstr("temperature: expected a number"));
  EXPECT_THAT(field_error("temperature", "nan"), HasSubstr("temperature"));
  EXPECT_THAT(field_error("temperature", "3"), HasSubstr("from 0 to 2"));
  EXPECT_THAT(field_error("response_format", "xml"), HasSubstr("expected json"));
  EXPECT_THAT(field_error("timestamp_granularities[]", "word"), HasSubstr("times of words"));
  EXPECT_THAT(field_error("stream", "yes"), HasSubstr("expected true or false"));
  EXPECT_THAT(field_error("file", ""), HasSubstr("file: missing"));
}

TEST(Transcript, IsWrittenInEveryForm) {
  TranscriptText t;
  t.language = "en";
  t.seconds = 3725.5;
  t.segments = {{.start = 0, .end = 1.5, .text = " One --> two.", .tokens = {1}},
                {.start = 3661.25, .end = 3725.5, .text = " Three.\n\nFour.", .tokens = {2}}};
  EXPECT_EQ(write_transcript(t, TranscriptFormat::text).body, "One --> two. Three.\n\nFour.\n");
  EXPECT_EQ(write_transcript(t, TranscriptFormat::srt).body,
            "1\n00:00:00,000 --> 00:00:01,500\nOne -> two.\n\n"
            "2\n01:01:01,250 --> 01:02:05,500\nThree.\nFour.\n\n");
  EXPECT_EQ(write_transcript(t, TranscriptFormat::vtt).body.substr(0, 41),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne");
  EXPECT_THAT(write_transcript(t, TranscriptFormat::json).body,
              HasSubstr(R"("usage":{"type":"duration","seconds":3726})"));
  EXPECT_THAT(write_transcript(t, TranscriptFormat::verbose_json).body,
              HasSubstr(R"("language":"en","duration":3725.5)"));
}

}  // namespace
}  // namespace quern

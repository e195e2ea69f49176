// SPDX-License-Identifier: Apache-2.0
#include "bench/event_reader.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace quern::bench {
namespace {

// What the events of `stream` are, fed in pieces of `size` bytes: 't' with text, '-' without.
std::string events_of(EventReader& reader, std::string_view stream, size_t size) {
  std::string out;
  for (size_t i = 0; i < stream.size(); i += size)
    reader.feed(stream.substr(i, size), [&](EventNews news) { out += news.has_text ? 't' : '-'; });
  return out;
}

constexpr std::string_view kCompletion =
    "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\r\n\r\n"
    ": keep-alive\n\n"
    "data: {\"choices\":[{\"text\":\"\"}]}\n\n"
    "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n"
    "data: [DONE]\n\n";

TEST(EventReader, ReadsAStreamCutAnywhere) {
  for (const size_t size : {size_t{1}, size_t{5}, kCompletion.size()}) {
    EventReader reader;
    EXPECT_EQ(events_of(reader, kCompletion, size), "t--") << size;
    EXPECT_EQ(reader.prompt_tokens(), 7);
    EXPECT_EQ(reader.completion_tokens(), 3);
    EXPECT_EQ(reader.error(), "");
  }
}

TEST(EventReader, ReadsChatsAndCountsAnEndWithoutText) {
  EventReader reader;
  EXPECT_EQ(
      events_of(reader,
                "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n"
                "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n",
                3),
      "-t");
  EventReader silent;
  EXPECT_EQ(
      events_of(silent, "data:{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n", 4),
      "t");
  EXPECT_EQ(silent.completion_tokens(), -1);
}

TEST(EventReader, KeepsWhatTheServerSaysOfAnError) {
  EventReader body;
  events_of(body, "{\"error\":{\"message\":\"too long\",\"code\":400}}", 10);
  EXPECT_EQ(body.error(), "too long");
  EventReader event;
  events_of(event, "data: {\"error\":{\"message\":\"lost\"}}\n\n", 10);
  EXPECT_EQ(event.error(), "lost");
  EventReader page;
  events_of(page, "<html>no</html>\n", 10);
  EXPECT_EQ(page.error(), "<html>no</html>");
}

TEST(EventReader, RefusesEventsThatAreNoJson) {
  EventReader reader;
  EXPECT_THROW(events_of(reader, "data: {\"choices\":\n", 10), Error);
}

}  // namespace
}  // namespace quern::bench

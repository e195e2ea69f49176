// SPDX-License-Identifier: Apache-2.0
// Routing to replicas, and reading what they answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/replica_proxy.h"
#include "server/replica_router.h"
#include "server/upstream_answer.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<bool> kNoneTried(3, false);

std::string chat(const std::vector<std::string>& turns) {
  std::string out = R"({"model":"m","messages":[)";
  for (size_t i = 0; i < turns.size(); ++i)
    out += (i > 0 ? "," : "") + (R"({"role":"user","content":")" + turns[i] + "\"}");
  return out + R"(],"temperature":0})";
}

TEST(RequestMark, ALongerConversationBeginsAsTheShorter) {
  const std::string first(1000, 'a'), second(1000, 'b');
  const RequestMark one = mark_of_request(chat({first})),
                    two = mark_of_request(chat({first, second})),
                    other = mark_of_request(chat({second, first}));
  ASSERT_EQ(one.prefixes.size(), 4u);
  ASSERT_GT(two.prefixes.size(), 6u);
  EXPECT_TRUE(std::equal(one.prefixes.begin(), one.prefixes.end() - 1, two.prefixes.begin()));
  EXPECT_NE(one.prefixes.front(), other.prefixes.front());
  // Wherever in the body they stand.
  EXPECT_EQ(mark_of_request(R"({"temperature":0,"messages":[{"role":"user","content":")" + first +
                            R"("}],"model":"m"})")
                .prefixes,
            one.prefixes);
  EXPECT_TRUE(mark_of_request("no JSON").prefixes.empty());
  EXPECT_TRUE(mark_of_request("[1]").prefixes.empty());
  EXPECT_EQ(mark_of_request(R"({"previous_response_id":"resp_1"})").previous_response_id, "resp_1");
}

TEST(ReplicaRouter, RequestsGoWhereTheirBeginningIsKnown) {
  ReplicaRouter router(3);
  const RequestMark a = mark_of_request(chat({std::string(2000, 'a')})),
                    b = mark_of_request(chat({std::string(2000, 'b')}));
  EXPECT_EQ(router.take(a, kNoneTried).replica, -1);  // none is there yet
  for (int i = 0; i < 3; ++i) router.set_port(i, 1000 + i);
  const auto first = router.take(a, kNoneTried);
  EXPECT_EQ(first.seen, 0u);
  const auto second = router.take(b, kNoneTried);
  EXPECT_NE(second.replica, first.replica);
  const auto again = router.take(a, kNoneTried);
  EXPECT_EQ(again.replica, first.replica);
  EXPECT_EQ(again.seen, a.prefixes.size());
  EXPECT_EQ(router.running(first.replica), 2);
  // Not at any price: one has much more to do than the idlest.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(router.take(a, kNoneTried).replica, first.replica);
  EXPECT_NE(router.take(a, kNoneTried).replica, first.replica);
}

TEST(ReplicaRouter, WhoIsGoneOrWasTriedIsNotAsked) {
  ReplicaRouter router(2);
  const RequestMark mark = mark_of_request(chat({std::string(2000, 'a')}));
  router.set_port(0, 1000);
  router.set_port(1, 1001);
  const auto first = router.take(mark, {false, false});
  std::vector<bool> tried(2, false);
  tried[static_cast<size_t>(first.replica)] = true;
  EXPECT_EQ(router.take(mark, tried).replica, 1 - first.replica);
  EXPECT_EQ(router.take(mark, {true, true}).replica, -1);
  router.set_port(first.replica, 0);
  EXPECT_EQ(router.take(mark, {false, false}).replica, 1 - first.replica);
  router.set_port(first.replica, 2000);  // a new process: it remembers nothing
  router.set_port(1 - first.replica, 0);
  EXPECT_EQ(router.take(mark, {false, false}).seen, 0u);
}

TEST(ReplicaRouter, AStoredAnswerLiesWhereItWasMade) {
  ReplicaRouter router(2);
  router.set_port(0, 1000);
  router.set_port(1, 1001);
  router.remember("resp_x", 1);
  RequestMark mark;
  mark.previous_response_id = "resp_x";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(router.take(mark, {false, false}).replica, 1);
  mark.previous_response_id = "resp_y";
  EXPECT_EQ(router.take(mark, {false, false}).replica, 0);
}

TEST(ReplicaRouter, RoundRobinKnowsNoPrefixes) {
  ReplicaRouter router(2, RoutingPolicy::round_robin);
  router.set_port(0, 1000);
  router.set_port(1, 1001);
  const RequestMark mark = mark_of_request(chat({std::string(2000, 'a')}));
  std::vector<int> chosen;
  for (int i = 0; i < 4; ++i) chosen.push_back(router.take(mark, {false, false}).replica);
  EXPECT_THAT(chosen, ElementsAre(0, 1, 0, 1));
}

// Fed whole, and byte by byte.
void expect_answer(const std::string& bytes, const std::string& body, bool is_chunked) {
  for (const size_t step : {bytes.size(), size_t{1}, size_t{7}}) {
    UpstreamAnswer answer;
    std::string got;
    for (size_t begin = 0; begin < bytes.size(); begin += step) {
      EXPECT_FALSE(answer.is_done());
      answer.feed(std::string_view(bytes).substr(begin, step));
      got += answer.take_body();
    }
    EXPECT_TRUE(answer.is_done());
    EXPECT_EQ(answer.is_chunked(), is_chunked);
    EXPECT_EQ(got, body);
    EXPECT_EQ(answer.head().status, 200);
    EXPECT_EQ(answer.head().content_type, "text/event-stream");
    ASSERT_EQ(answer.head().headers.size(), 1u);
    EXPECT_EQ(answer.head().headers[0].first, "Cache-Control");
  }
}

TEST(UpstreamAnswer, IsTakenApartAtAnyCut) {
  const std::string head =
      "HTTP/1.1 200 OK\r\nServer: quern\r\nContent-Type: text/event-stream\r\nCache-Control: "
      "no-cache\r\nConnection: close\r\n";
  expect_answer(head + "Content-Length: 5\r\n\r\nhello", "hello", false);
  expect_answer(
      head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nb\r\n, two words\r\n0\r\n\r\n",
      "hello, two words",
      true);
}

TEST(UpstreamAnswer, MalformedOnesAreRefused) {
  for (const char* bytes : {"SSH-2.0-OpenSSH\r\n\r\n",
                            "HTTP/1.1 2x0 OK\r\n\r\n",
                            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    UpstreamAnswer answer;
    EXPECT_THROW(answer.feed(bytes), Error) << bytes;
  }
  UpstreamAnswer endless;
  EXPECT_THROW(endless.feed(std::string(100'000, 'x')), Error);
}

TEST(MergedMetrics, EverySampleSaysWhoseItIs) {
  const std::string one =
      "# HELP a A thing.\n# TYPE a counter\na{model=\"m\"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n";
  const std::string out = merged_metrics({one, "", one});
  EXPECT_EQ(out,
            "# HELP a A thing.\n# TYPE a counter\na{replica=\"0\",model=\"m\"} 1\n"
            "a{replica=\"2\",model=\"m\"} 1\n# HELP b B.\n# TYPE b gauge\nb{replica=\"0\"} 2\n"
            "b{replica=\"2\"} 2\n");
}

}  // namespace
}  // namespace quern

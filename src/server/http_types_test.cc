// SPDX-License-Identifier: Apache-2.0
// The parts without sockets: paths, routes, keys, the request parser.
#include "server/http_types.h"

#include <gtest/gtest.h>

#include "server/request_parser.h"
#include "server/router.h"

namespace quern {
namespace {

TEST(NormalizePath, GivesOneSpellingToAll) {
  for (const char* target : {"/v1/models",
                             "/v1/models/",
                             "//v1//models",
                             "/v1/./models",
                             "/x/../v1/models",
                             "/v1/%6dodels",
                             "/v1/models?a=b",
                             "http://host/v1/models",
                             "/v1/models#x"})
    EXPECT_EQ(normalize_path(target), "/v1/models") << target;
  EXPECT_EQ(normalize_path("/"), "/");
  EXPECT_EQ(normalize_path("http://host"), "/");
  EXPECT_EQ(normalize_path("/V1/models"), "/V1/models");
}

TEST(NormalizePath, RefusesWhatIsMalformed) {
  for (const char* target :
       {"", "v1", "/%", "/%4", "/%zz", "/a%00b", "/..", "/a/../../b", "/a%0ab", "*"})
    EXPECT_EQ(normalize_path(target), std::nullopt) << target;
}

TEST(HttpTypes, CleanIdsAndPrintableText) {
  EXPECT_TRUE(is_clean_id("abc-1_2.3"));
  for (const char* id : {"", "a b", "a\nb", "\"", "é"}) EXPECT_FALSE(is_clean_id(id)) << id;
  EXPECT_FALSE(is_clean_id(std::string(129, 'a')));
  EXPECT_EQ(printable("a b\n\xff~", 10), "a?b??~");
  EXPECT_EQ(printable("abcdef", 3), "abc");
}

TEST(Router, FindsRoutesAndAllowedMethods) {
  Router router;
  const Route route = [](Exchange&) -> Task<> { co_return; };
  router.add("GET", "/v1/models", {}, route);
  router.add("GET", "/v1/models/{name}*", {}, route);
  router.add("POST", "/v1/files/{id}/content", {}, route);
  router.add("DELETE", "/v1/files/{id}/content", {}, route);
  EXPECT_EQ(router.match("GET", "/v1/models").entry->pattern, "/v1/models");
  EXPECT_EQ(router.match("HEAD", "/v1/models").entry->pattern, "/v1/models");
  EXPECT_EQ(router.match("GET", "/v1/models/org/name").parameters,
            std::vector<std::string>({"org/name"}));
  EXPECT_EQ(router.match("POST", "/v1/files/7/content").parameters,
            std::vector<std::string>({"7"}));
  EXPECT_EQ(router.match("GET", "/v1/files/7/content").allowed, "POST, DELETE");
  EXPECT_EQ(router.match("POST", "/v1/models").allowed, "GET, HEAD");
  for (const char* path : {"/", "/v1", "/v1/files/7", "/v1/files/7/content/x"}) {
    EXPECT_EQ(router.match("GET", path).entry, nullptr) << path;
    EXPECT_TRUE(router.match("GET", path).allowed.empty()) << path;
  }
}

TEST(Router, FindsPathsWithAndWithoutTheRoot) {
  Router router;
  router.add("GET", "/v1/models", {}, [](Exchange&) -> Task<> { co_return; });
  router.set_root_path("/llm/");
  for (const char* path : {"/v1/models", "/llm/v1/models"})
    EXPECT_NE(router.match("GET", path).entry, nullptr) << path;
  for (const char* path : {"/llm", "/llmv1/models", "/llm/llm/v1/models"})
    EXPECT_EQ(router.match("GET", path).entry, nullptr) << path;
  EXPECT_THROW(router.set_root_path("llm"), Error);
  EXPECT_THROW(router.set_root_path("/a/../b"), Error);
}

// The status that the parser answers, 0 if the request is whole, -1 if it waits for more.
int outcome_of(std::string_view bytes, size_t piece) {
  RequestParser parser(4096, 1000);
  std::string buffer;
  for (size_t at = 0; at < bytes.size() || !buffer.empty();) {
    if (parser.is_done()) break;
    buffer += bytes.substr(at, piece);
    at = std::min(bytes.size(), at + piece);
    const size_t used = parser.feed(buffer);
    buffer.erase(0, used);
    if (parser.error()) return parser.error()->status;
    if (used == 0 && at == bytes.size()) break;
  }
  return parser.is_done() ? 0 : -1;
}

TEST(RequestParser, JudgesTheSameForEveryCut) {
  const std::string long_header = "GET / HTTP/1.1\r\nX: " + std::string(5000, 'a') + "\r\n\r\n";
  const std::string chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::pair<std::string, int> cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 0},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", -1},
      {chunked + "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n", 0},
      {chunked + "zz\r\nabc\r\n", 400},
      {chunked + "3\r\nabcXY\r\n0\r\n\r\n", 400},
      {chunked + "fffffffffffffffff\r\n", 400},
      {chunked + "400\r\n" + std::string(1024, 'a') + "\r\n0\r\n\r\n", 413},
      {"GET /\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\n\r\n", 505},
      {"\x16\x03\x01\x02", 400},
      {"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nA: b\x01\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {long_header, 431}};
  for (const auto& [bytes, expected] : cases)
    for (const size_t piece : {size_t{1}, size_t{7}, bytes.size()})
      EXPECT_EQ(outcome_of(bytes, piece), expected)
          << bytes.substr(0, 120) << " in pieces of " << piece;
}

// An endless chunk header must not grow a buffer for ever.
TEST(RequestParser, BoundsChunkHeaders) {
  RequestParser parser(4096, 1 << 20);
  std::string buffer = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;";
  for (int i = 0; i < 200 && !parser.error(); ++i) {
    buffer += std::string(1000, 'x');
    buffer.erase(0, parser.feed(buffer));
  }
  ASSERT_NE(parser.error(), nullptr);
  EXPECT_GE(parser.error()->status, 400);
}

TEST(RequestParser, LeavesThePipelineAlone) {
  RequestParser parser(4096, 1000);
  const std::string two =
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /next HTTP/1.1\r\n";
  size_t used = parser.feed(two);
  EXPECT_TRUE(parser.is_head_done());
  used += parser.feed(std::string_view(two).substr(used));
  EXPECT_TRUE(parser.is_done());
  EXPECT_EQ(two.substr(used), "GET /next HTTP/1.1\r\n");
  EXPECT_EQ(parser.take_body(), "hi");
}

}  // namespace
}  // namespace quern

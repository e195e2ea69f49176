// SPDX-License-Identifier: Apache-2.0
#include "hub/http_client.h"

#include <gtest/gtest.h>

#include "hub/attempts.h"

namespace quern {
namespace {

TEST(HttpClient, OriginsAreSchemeHostAndPort) {
  EXPECT_TRUE(is_same_origin("https://Host/a", "https://host:443/b?c"));
  EXPECT_FALSE(is_same_origin("https://host/a", "http://host/a"));
  EXPECT_FALSE(is_same_origin("https://host/a", "https://host:444/a"));
  EXPECT_FALSE(is_same_origin("https://host/a", "https://host.evil/a"));
  EXPECT_FALSE(is_same_origin("https://host/a", "https://host@evil/a"));
}

TEST(HttpClient, PathsAreEncoded) {
  EXPECT_EQ(encode_path("a b/c?d#e%", true), "a%20b/c%3Fd%23e%25");
  EXPECT_EQ(encode_path("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(encode_path("\xc3\xa9", true), "%C3%A9");
}

struct Pauses {
  std::vector<int64_t> taken;
  RetryPolicy policy{.retries = 3,
                     .first_pause_ms = 100,
                     .max_pause_ms = 300,
                     .max_retry_after_s = 300,
                     .pause =
                         [this](int64_t ms) {
                           taken.push_back(ms);
                           return true;
                         },
                     .on_retry = nullptr};
};

TEST(Attempts, PausesDoubleAndEnd) {
  Pauses pauses;
  int calls = 0;
  EXPECT_THROW(with_retries(pauses.policy,
                            [&]() -> int {
                              ++calls;
                              throw TransientError("cut", -1);
                            }),
               TransientError);
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(pauses.taken, (std::vector<int64_t>{100, 200, 300}));
}

TEST(Attempts, ProgressBeginsThemAnew) {
  Pauses pauses;
  Attempts attempts(pauses.policy);
  for (int i = 0; i < 10; ++i) {
    attempts.wait_after(TransientError("cut", -1));
    attempts.made_progress();
  }
  EXPECT_EQ(pauses.taken, std::vector<int64_t>(10, 100));
}

TEST(Attempts, TheHostsOwnPauseIsKeptUpToABound) {
  Pauses pauses;
  Attempts attempts(pauses.policy);
  attempts.wait_after(TransientError("busy", 7));
  EXPECT_EQ(pauses.taken, std::vector<int64_t>{7000});
  EXPECT_THROW(attempts.wait_after(TransientError("busy", 3600)), TransientError);
}

TEST(Attempts, OtherErrorsAreNotTriedAgain) {
  Pauses pauses;
  EXPECT_THROW(
      with_retries(pauses.policy, []() -> int { fail(ErrorCode::not_found, "no such model"); }),
      Error);
  EXPECT_TRUE(pauses.taken.empty());
}

}  // namespace
}  // namespace quern

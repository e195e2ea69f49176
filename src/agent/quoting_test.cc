// SPDX-License-Identifier: Apache-2.0
#include "agent/quoting.h"

#include <gtest/gtest.h>

#include "agent/process.h"
#include "base/error_of.h"

namespace quern::agent {
namespace {

using namespace std::string_literals;

const std::vector<std::string> kHostile = {"",
                                           "plain",
                                           "two words",
                                           "it's",
                                           "'",
                                           "''\\''",
                                           "\"; reboot; \"",
                                           "$(reboot) `reboot` $HOME ${x}",
                                           "a\nb\n",
                                           "\\",
                                           "* ? [a] ~ # ! & | < > ( ) { }",
                                           "日本 é \x01\x7f",
                                           "-n"};

// The judge is a real shell.
TEST(Quoting, AShellReadsBackEveryText) {
  for (const std::string& text : kHostile) {
    const std::string line = shell_command({"printf", "%s", text});
    EXPECT_EQ(run_command({"sh", "-c", line}, {}).out, text) << line;
  }
}

TEST(Quoting, WordsStayApart) {
  const std::string line = shell_command({"printf", "<%s>", "a b", "", "'c'"});
  EXPECT_EQ(run_command({"sh", "-c", line}, {}).out, "<a b><><'c'>");
  EXPECT_EQ(shell_quoted("a\0b"s), "'ab'");
}

TEST(Quoting, InputTextKnowsBlanksAsPercentS) {
  using Pieces = std::vector<std::string>;
  EXPECT_EQ(input_text_pieces("hello there  you"), Pieces{"hello%sthere%s%syou"});
  EXPECT_EQ(input_text_pieces("100%s of %sx%%s"), (Pieces{"100%", "s%sof%s%", "sx%%", "s"}));
  EXPECT_EQ(input_text_pieces("50% sure"), Pieces{"50%%ssure"});
  EXPECT_TRUE(input_text_pieces("").empty());
  EXPECT_EQ(input_text_pieces(std::string(450, 'x')).size(), 3u);
}

TEST(Quoting, OnlyPrintableAsciiIsTyped) {
  EXPECT_TRUE(is_typable("~ Hello, \"World\"! 'x' \\ `$(y)`"));
  EXPECT_FALSE(is_typable("é"));
  EXPECT_FALSE(is_typable("a\nb"));
  EXPECT_FALSE(is_typable("a\tb"));
}

TEST(Process, HasADeadlineALimitAndAStop) {
  EXPECT_EQ(run_command({"sh", "-c", "echo out; echo err >&2; exit 7"}, {}).exit_code, 7);
  EXPECT_EQ(run_command({"sh", "-c", "echo out; echo err >&2"}, {}).err, "err\n");
  EXPECT_TRUE(run_command({"sleep", "20"}, {.timeout_ms = 50}).has_timed_out);
  EXPECT_EQ(error_of([] { run_command({"/no/such/program"}, {}); }),
            "not_found: /no/such/program: cannot be started: No such file or directory");
  const std::atomic<bool> stop = true;
  EXPECT_EQ(error_of([&] {
              run_command({"sleep", "20"}, {.stop = &stop});
            }),
            "cancelled: interrupted");
  EXPECT_EQ(error_of([] { run_command({"yes"}, {.max_bytes = 1000}); }),
            "exhausted: yes: more than 1000 bytes of output");
  EXPECT_EQ(run_command({"sh", "-c", "printf %070000d 0"}, {}).out.size(), 70000u);
  // A child that goes on with the pipe in its hands, as adb's server may.
  EXPECT_EQ(run_command({"sh", "-c", "sleep 1 & echo there"}, {}).out, "there\n");
}

}  // namespace
}  // namespace quern::agent

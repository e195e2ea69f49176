// SPDX-License-Identifier: Apache-2.0
#include "agent/trace.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/error_of.h"
#include "base/file.h"

namespace quern::agent {
namespace {

constexpr const char* kEvil = "</pre><script>alert(1)</script><img src=x onerror='a()'>\"&";

TEST(Trace, WhatAModelSaysIsText) {
  TraceStep step{.number = 2,
                 .png = "p",
                 .app = kEvil,
                 .thought = kEvil,
                 .words = kEvil,
                 .raw = kEvil,
                 .outcome = kEvil};
  const std::string page = step_page(step, kEvil, false);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("<img src=x"), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;alert(1)"), std::string::npos);
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  EXPECT_NE(page.find("step-001.html"), std::string::npos);
  EXPECT_EQ(page.find("step-003.html"), std::string::npos);
}

TEST(Trace, AFolderThatStepsThrough) {
  const std::string folder = testing::TempDir() + "quern_trace_test/inner";
  std::filesystem::remove_all(folder);
  Trace trace(folder, "goal", "model");
  Action tap{.kind = ActionKind::tap, .at = {250, 500}, .to = {}};
  trace.add({.number = 1, .png = "PNG", .words = "do(...)", .outcome = "done", .action = tap});
  trace.add({.number = 2, .words = "finish(...)", .outcome = "finished"});
  trace.end("All <done>.");
  EXPECT_EQ(read_file(folder + "/step-001.png"), "PNG");
  const std::string first = read_file(folder + "/step-001.html");
  EXPECT_NE(first.find("href=\"step-002.html\""), std::string::npos);
  EXPECT_NE(first.find("<ellipse cx=\"250\" cy=\"500\""), std::string::npos);
  EXPECT_NE(first.find("<img src=\"step-001.png\""), std::string::npos);
  EXPECT_NE(read_file(folder + "/step-002.html").find("no picture"), std::string::npos);
  EXPECT_NE(read_file(folder + "/index.html").find("All &lt;done&gt;."), std::string::npos);
  struct stat about {};
  stat(folder.c_str(), &about);
  EXPECT_EQ(about.st_mode & 0777, 0700u);
  EXPECT_NE(error_of([&] { Trace(folder, "", ""); }).find("is not an empty folder"),
            std::string::npos);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quern::agent

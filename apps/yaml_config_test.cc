// SPDX-License-Identifier: Apache-2.0
#include "yaml_config.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "command_line.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<ConfigEntry> read(const std::string& text) {
  std::istringstream in(text);
  return read_flat_yaml(in);
}

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(YamlConfig, ReadsFlagsScalarsAndLists) {
  const auto entries = read(
      "---\n# a server\nport: 8000   # here\nmax_model_len: 8k\nmodel-name: 'a # b'\n"
      "allowed-origins: [http://a.example, \"http://b.example\"]\napi-key:\n  - one\n  - two\n- "
      "three\n\nseed: -1\n");
  ASSERT_EQ(entries.size(), 6u);
  EXPECT_EQ(entries[0].name, "port");
  EXPECT_THAT(entries[0].values, ElementsAre("8000"));
  EXPECT_EQ(entries[1].name, "max-model-len");
  EXPECT_THAT(entries[2].values, ElementsAre("a # b"));
  EXPECT_THAT(entries[3].values, ElementsAre("http://a.example", "http://b.example"));
  EXPECT_THAT(entries[4].values, ElementsAre("one", "two", "three"));
  EXPECT_THAT(entries[5].values, ElementsAre("-1"));
}

TEST(YamlConfig, RefusesWhatItWouldReadWrongly) {
  for (const char* text : {"a: {b: c}",
                           "a: &x 1",
                           "a: *x",
                           "a: !!int 1",
                           "a: |\n  text",
                           "a: [1",
                           "a: b: c",
                           "- x",
                           "a: \"x",
                           "just words",
                           "a:b",
                           " a: 1",
                           "a: 1\n  b: 2",
                           "a: 1\na: 2",
                           "a: 1\n- 2",
                           "a:\n  - "})
    EXPECT_THAT(refusal(text), HasSubstr("line ")) << text;
  EXPECT_THAT(refusal("a: 1\nb: {}\n"), HasSubstr("line 2"));
}

TEST(YamlConfig, FillsWhatIsUnset) {
  const std::string path = ::testing::TempDir() + "quern_config.yaml";
  std::ofstream(path) << "test-yaml-flag: 7\n";
  unsetenv("QUERN_TEST_YAML_FLAG");
  EXPECT_EQ(adopt_config_file(std::vector<std::string>{"--config", path}).size(), 1u);
  EXPECT_STREQ(getenv("QUERN_TEST_YAML_FLAG"), "7");
  unsetenv("QUERN_TEST_YAML_FLAG");
}

}  // namespace
}  // namespace quern

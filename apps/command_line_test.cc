// SPDX-License-Identifier: Apache-2.0
#include "command_line.h"

#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>

#include "base/error.h"

namespace quern {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> normalized(std::vector<std::string> arguments) {
  std::vector<char*> raw;
  for (std::string& a : arguments) raw.push_back(a.data());
  return normalize_arguments(raw);
}

TEST(CommandLine, DashesAndUnderscoresAreEqualInNamesOnly) {
  EXPECT_THAT(normalized({"--max_num_seqs", "a_b", "--served_model_name=my_model"}),
              ElementsAre("--max-num-seqs", "a_b", "--served-model-name=my_model"));
  EXPECT_THAT(normalized({"-tp", "2", "--", "--a_b"}),
              ElementsAre("--tensor-parallel-size", "2", "--", "--a_b"));
}

TEST(CommandLine, CountsWithSuffixes) {
  EXPECT_EQ(parse_count("4096", "--x"), 4096);
  EXPECT_EQ(parse_count("8k", "--x"), 8000);
  EXPECT_EQ(parse_count("8K", "--x"), 8192);
  EXPECT_EQ(parse_count("1.5M", "--x"), 1572864);
  for (const char* bad : {"", "k", "4.5", "12x", "1e400", "nan", " 4"})
    EXPECT_THROW(parse_count(bad, "--x"), Error) << bad;
}

TEST(CommandLine, TheNearestFlagIsNamed) {
  CLI::App app;
  int value = 0;
  app.add_option("--max-model-len", value);
  app.add_option("--port", value);
  EXPECT_EQ(nearest_flag(app, "--max-model-lem=3"), "--max-model-len");
  EXPECT_EQ(nearest_flag(app, "--prot"), "--port");
  EXPECT_EQ(nearest_flag(app, "--something-else"), "");
}

TEST(CommandLine, EnvironmentBeatsFileAndFlagBeatsBoth) {
  const std::string path = ::testing::TempDir() + "quern_config.toml";
  std::ofstream(path) << "max_num_seqs = 3\nport = 7\n";
  setenv("QUERN_MAX_NUM_SEQS", "5", 1);
  unsetenv("QUERN_PORT");
  const std::vector<std::string> arguments = {"serve", "--config", path};
  EXPECT_EQ(adopt_config_file(arguments).size(), 1u);
  CLI::App app;
  int seqs = 0, port = 0;
  app.add_option("--max-num-seqs", seqs);
  app.add_option("--port", port);
  read_environment(app);
  app.parse("--port 9", false);
  EXPECT_EQ(seqs, 5);
  EXPECT_EQ(port, 9);
  unsetenv("QUERN_MAX_NUM_SEQS");
  unsetenv("QUERN_PORT");
  EXPECT_THROW(adopt_config_file(std::vector<std::string>{"--config=/no/such/file"}), Error);
}

}  // namespace
}  // namespace quern

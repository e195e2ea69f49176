// SPDX-License-Identifier: Apache-2.0
// Renders every golden case of the kinds chat_template and jinja; rows that carry `error` must
// throw.
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "text/jinja/chat_template.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

int64_t unix_time(const std::string& iso) {
  std::tm time{};
  std::sscanf(iso.c_str(),
              "%d-%d-%dT%d:%d:%d",
              &time.tm_year,
              &time.tm_mon,
              &time.tm_mday,
              &time.tm_hour,
              &time.tm_min,
              &time.tm_sec);
  time.tm_year -= 1900;
  time.tm_mon -= 1;
  return timegm(&time);
}

std::vector<Json> read_rows(const fs::path& path) {
  std::vector<Json> rows;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) rows.push_back(Json::parse(line));
  return rows;
}

void expect_row(const std::string& source, const Json& variables, int64_t now, const Json& row) {
  std::string rendered, error;
  try {
    rendered = ChatTemplate(source).render(variables, now);
  } catch (const Error& e) {
    error = e.what();
  }
  if (row.contains("error")) {
    EXPECT_FALSE(error.empty()) << "expected " << row["error"] << ", got " << rendered << "\n"
                                << source;
  } else {
    EXPECT_EQ(error, "") << row.dump().substr(0, 300);
    EXPECT_EQ(rendered, row["rendered"].get<std::string>()) << row.dump().substr(0, 300);
  }
}

Json variables_of(const Json& row, const Json& expected) {
  Json variables = expected.value("special_tokens", Json::object());
  for (const char* name : {"messages", "tools", "add_generation_prompt"})
    variables[name] = row[name];
  for (const auto& [name, value] : row["kwargs"].items()) variables[name] = value;
  return variables;
}

size_t check_case(const fs::path& folder, const Json& expected) {
  const int64_t now = unix_time(expected["now"].get<std::string>());
  const auto rows = read_rows(folder / "cases.jsonl");
  const bool is_chat = expected["kind"] == "chat_template";
  const std::string source = is_chat ? read_text(folder / "chat_template.jinja") : "";
  const Json context = is_chat ? Json() : Json::parse(read_text(folder / "context.json"));
  for (const Json& row : rows) {
    if (is_chat) {
      expect_row(source, variables_of(row, expected), now, row);
    } else {
      Json variables = context;
      variables["messages"] = context["msgs"];
      expect_row(row["template"].get<std::string>(), variables, now, row);
    }
  }
  EXPECT_EQ(rows.size(), expected["n_cases"].get<size_t>());
  return rows.size();
}

TEST(JinjaGolden, EveryRenderingIsEqual) {
  size_t rows = 0, cases = 0;
  for (const auto& entry : fs::directory_iterator(QUERN_SOURCE_DIR "/tests/golden")) {
    if (!fs::exists(entry.path() / "expected.json")) continue;
    const Json expected = Json::parse(read_text(entry.path() / "expected.json"));
    const std::string kind = expected.value("kind", "");
    if (kind != "chat_template" && kind != "jinja") continue;
    SCOPED_TRACE(entry.path().filename().string());
    rows += check_case(entry.path(), expected);
    ++cases;
  }
  EXPECT_GE(cases, 1u);
  EXPECT_GE(rows, 1u);
}

}  // namespace
}  // namespace quern

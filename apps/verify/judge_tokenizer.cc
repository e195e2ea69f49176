// SPDX-License-Identifier: Apache-2.0
// Tokenizer cases: encode, decode and streaming decode, row by row.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/json.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/tokenizer.h"
#include "verify/judges.h"

namespace quern {
namespace {

using Ids = std::vector<int32_t>;

// Fields of a row; `text` and `ids_only` say what kind of row it is.
const std::set<std::string> kKnown = {"text",
                                      "ids",
                                      "ids_only",
                                      "ids_with_special",
                                      "ids_plain",
                                      "decoded",
                                      "decoded_skip_special",
                                      "stream"};

bool ends_inside_character(std::string_view text) {
  size_t tail = 0;
  while (tail < text.size() && tail < 3 &&
         (static_cast<unsigned char>(text[text.size() - 1 - tail]) & 0xc0) == 0x80)
    ++tail;
  if (tail == text.size()) return tail > 0;
  const auto lead = static_cast<unsigned char>(text[text.size() - 1 - tail]);
  const size_t wanted = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
  return tail < wanted;
}

struct Streamed {
  std::string text;
  bool is_whole = true;  // no piece ended inside a character
};

Streamed stream(const Tokenizer& tokenizer, const Ids& ids) {
  Detokenizer detokenizer(tokenizer, false);
  Streamed out;
  for (const int32_t id : ids) {
    const std::string piece = detokenizer.push(id);
    out.is_whole = out.is_whole && !ends_inside_character(piece);
    out.text += piece;
  }
  out.text += detokenizer.finish();
  return out;
}

std::string shorten(const Json& row) {
  const std::string text = json_text(row);
  return text.size() <= 160 ? text : text.substr(0, 160) + "…";
}

void judge_row(const Tokenizer& tokenizer,
               const Json& row,
               std::map<std::string, RowCounter>& fields) {
  const auto ids_of = [&](const char* field) { return row.at(field).get<Ids>(); };
  const auto check = [&](const std::string& field, bool is_equal) {
    fields[field].compare(is_equal, shorten(row));
  };
  const Ids ids = ids_of(row.contains("ids_only") ? "ids_only" : "ids");
  const bool has_text = row.contains("text");
  if (has_text) {
    const std::string text = row.at("text").get<std::string>();
    check("ids", tokenizer.encode(text, {.add_special_tokens = false}) == ids);
    // Stored only where they differ from `ids`.
    const Ids with_special = row.contains("ids_with_special") ? ids_of("ids_with_special") : ids;
    const Ids plain = row.contains("ids_plain") ? ids_of("ids_plain") : ids;
    check("ids_with_special", tokenizer.encode(text) == with_special);
    check("ids_plain",
          tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false}) == plain);
  }
  const std::string decoded = tokenizer.decode(ids);
  if (has_text || row.contains("decoded")) {
    const std::string wanted = row.contains("decoded") ? row.at("decoded").get<std::string>()
                                                       : row.at("text").get<std::string>();
    check("decoded", decoded == wanted);
  }
  if (row.contains("decoded_skip_special"))
    check("decoded_skip_special",
          tokenizer.decode(ids, {.skip_special = true}) ==
              row.at("decoded_skip_special").get<std::string>());
  const Streamed streamed = stream(tokenizer, ids);
  check("stream", streamed.text == decoded && streamed.is_whole);
}

}  // namespace

void judge_tokenizer(const GoldenCase& golden, Report& report) {
  const Tokenizer tokenizer = Tokenizer::from_folder(golden.folder());
  std::map<std::string, RowCounter> fields;
  std::set<std::string> unknown;
  for (const Json& row : golden.rows("cases.jsonl")) {
    judge_row(tokenizer, row, fields);
    for (const auto& [name, value] : row.items())
      if (!kKnown.contains(name)) unknown.insert(name);
  }
  for (const auto& [field, counter] : fields) counter.report_to(report, field);
  for (const std::string& name : unknown) report.add({.field = name, .note = "unknown field"});
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// The text front end of GLM-TTS: text as it is read aloud, step by step and as a whole, its pieces,
// and the cached pieces that are kept.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "text/spoken/pieces.h"
#include "text/spoken/spoken_text.h"
#include "verify/judges.h"

namespace quern {
namespace {

// A normaliser of another make may read some texts otherwise: so many of a language.
constexpr double kOtherwiseAllowed = 0.05;

// `kind` and `id` describe a row; `lang` says which language the text was written for.
const std::set<std::string> kKnownOfText = {
    "id", "lang", "kind", "text", "tn_in", "tn_out", "normalized", "pieces", "error"};
const std::set<std::string> kKnownOfCache = {"text_lengths",
                                             "speech_lengths",
                                             "new_text_length",
                                             "kept",
                                             "prompt_text_length",
                                             "prompt_speech_length"};

std::string text_at(const Json& row, const char* field) {
  const auto found = row.find(field);
  if (found == row.end() || !found->is_string())
    fail(ErrorCode::data_loss, "{}: expected a string in {}", field, json_text(row).substr(0, 160));
  return found->get<std::string>();
}

// How many texts of one language are read as the reference reads them.
struct Agreement {
  int64_t compared = 0, different = 0;
  std::string first;

  void report_to(Report& report, const std::string& field) const {
    Finding finding{.field = field, .allowed = kOtherwiseAllowed, .count = compared, .note = {}};
    finding.error = static_cast<double>(different) / static_cast<double>(compared);
    finding.verdict = finding.error <= kOtherwiseAllowed ? Verdict::holds : Verdict::differs;
    finding.note = format("{} of {} equal", compared - different, compared);
    if (different > 0) finding.note += "; " + first;
    report.add(std::move(finding));
  }
};

class SpokenTextJudge {
 public:
  explicit SpokenTextJudge(Report& report) : report_(report) {}

  void judge_row(const Json& row) {
    if (!row.is_object()) fail(ErrorCode::data_loss, "text.jsonl: expected objects");
    for (const auto& [name, value] : row.items())
      if (!kKnownOfText.contains(name)) unknown_.insert(name);
    if (row.contains("error")) {
      ++refused_;
      return;
    }
    const std::string text = text_at(row, "text");
    compare(spoken_text(text), text_at(row, "normalized"), text, whole_[text_at(row, "lang")]);
    if (row.contains("tn_in")) judge_steps(row, text);
    if (row.contains("pieces")) {
      const auto pieces = row["pieces"].get<std::vector<std::string>>();
      fields_["text.pieces"].compare(split_spoken(text_at(row, "normalized")) == pieces, text);
    }
  }

  void finish() {
    for (const auto& [lang, agreement] : whole_) agreement.report_to(report_, "text." + lang);
    for (const auto& [field, counter] : fields_) counter.report_to(report_, field);
    if (refused_ > 0)
      report_.add({.field = "text.refused",
                   .count = refused_,
                   .note = "skipped: texts that the reference itself cannot read"});
    for (const std::string& name : unknown_)
      report_.add({.field = "text." + name, .note = "unknown field"});
  }

 private:
  static void compare(const std::string& got,
                      const std::string& wanted,
                      const std::string& text,
                      Agreement& agreement) {
    ++agreement.compared;
    if (got == wanted) return;
    if (agreement.different++ == 0)
      agreement.first = format("{}: expected {}, got {}", text, wanted, got);
  }

  void judge_steps(const Json& row, const std::string& text) {
    const PreparedText prepared = prepare_spoken_text(text);
    const std::string before = text_at(row, "tn_in");
    fields_["text.before"].compare(prepared.text == before, text);
    if (!row.contains("tn_out")) return;
    compare(read_numbers(before, prepared.language),
            text_at(row, "tn_out"),
            before,
            whole_["numbers." + text_at(row, "lang")]);
    const std::string finished = finish_spoken_text(text_at(row, "tn_out"), prepared.language);
    fields_["text.after"].compare(finished == text_at(row, "normalized"), text);
  }

  Report& report_;
  std::map<std::string, Agreement> whole_;  // by language, and of the normaliser alone
  std::map<std::string, RowCounter> fields_;
  std::set<std::string> unknown_;
  int64_t refused_ = 0;
};

void judge_cache_row(const Json& row, RowCounter& counter, std::set<std::string>& unknown) {
  for (const auto& [name, value] : row.items())
    if (!kKnownOfCache.contains(name)) unknown.insert(name);
  const auto text = row.at("text_lengths").get<std::vector<int64_t>>();
  const auto speech = row.at("speech_lengths").get<std::vector<int64_t>>();
  if (text.size() != speech.size())
    fail(ErrorCode::data_loss,
         "prompt_cache.json: {} lengths of text, {} of speech",
         text.size(),
         speech.size());
  std::vector<CachedPiece> pieces;
  for (size_t i = 0; i < text.size(); ++i) pieces.push_back({text[i], speech[i]});
  const std::vector<size_t> kept = kept_pieces(pieces, row.at("new_text_length").get<int64_t>());
  int64_t kept_text = 0, kept_speech = 0;
  for (const size_t i : kept) {
    kept_text += text[i];
    kept_speech += speech[i];
  }
  const bool is_equal = kept == row.at("kept").get<std::vector<size_t>>() &&
                        row.value("prompt_text_length", kept_text) == kept_text &&
                        row.value("prompt_speech_length", kept_speech) == kept_speech;
  counter.compare(is_equal, json_text(row));
}

void judge_cache(const GoldenCase& golden, Report& report) {
  const Json rows = read_json_file(golden.file("prompt_cache.json"));
  if (!rows.is_array()) fail(ErrorCode::data_loss, "prompt_cache.json: expected a list");
  RowCounter counter;
  std::set<std::string> unknown;
  try {
    for (const Json& row : rows) judge_cache_row(row, counter, unknown);
  } catch (const Json::exception& e) {
    fail(ErrorCode::data_loss, "prompt_cache.json: {}", e.what());
  }
  counter.report_to(report, "prompt_cache");
  for (const std::string& name : unknown)
    report.add({.field = "prompt_cache." + name, .note = "unknown field"});
}

}  // namespace

void judge_spoken_text(const GoldenCase& golden, Report& report) {
  judge_field(report, "text", [&] {
    SpokenTextJudge judge(report);
    try {
      for (const Json& row : golden.rows("text.jsonl")) judge.judge_row(row);
    } catch (const Json::exception& e) {
      fail(ErrorCode::data_loss, "text.jsonl: {}", e.what());
    }
    judge.finish();
  });
  if (file_exists(golden.file("prompt_cache.json")))
    judge_field(report, "prompt_cache", [&] { judge_cache(golden, report); });
  if (file_exists(golden.file("phonemes.jsonl")))
    report.add({.field = "phonemes",
                .note = "the phoneme mode of GLM-TTS is not made: text alone goes to the model"});
}

}  // namespace quern

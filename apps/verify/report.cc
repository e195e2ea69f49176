// SPDX-License-Identifier: Apache-2.0
#include "verify/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "exit_codes.h"

namespace quern {

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::holds:
      return "holds";
    case Verdict::differs:
      return "DIFFERS";
    case Verdict::unsupported:
      return "unsupported";
    case Verdict::unreadable:
      return "unreadable";
    case Verdict::not_judged:
      return "not judged";
  }
  return "";
}

bool Report::wants(std::string_view field) const {
  return only_.empty() || std::any_of(only_.begin(), only_.end(), [&](std::string_view name) {
           if (field == name || field.starts_with(std::string(name) + ".")) return true;
           return field.size() > name.size() && field.ends_with(name) &&
                  field[field.size() - name.size() - 1] == '.';
         });
}

void Report::add(Finding finding) {
  if (wants(finding.field)) findings_.push_back(std::move(finding));
}

void Report::add_exact(std::string field,
                       int64_t compared,
                       int64_t different,
                       std::string first_difference) {
  Finding finding{.field = std::move(field),
                  .verdict = different == 0 ? Verdict::holds : Verdict::differs,
                  .count = compared,
                  .note = {}};
  if (different > 0)
    finding.note = format("{} of {} differ; {}", different, compared, first_difference);
  add(std::move(finding));
}

void Report::add_error(std::string field, const Error& error) {
  if (wants(field)) add_obstacle(std::move(field), error);
}

void Report::add_obstacle(std::string field, const Error& error) {
  const Verdict verdict =
      error.code() == ErrorCode::unsupported ? Verdict::unsupported : Verdict::unreadable;
  findings_.push_back({.field = std::move(field), .verdict = verdict, .note = error.what()});
}

int64_t Report::count(Verdict verdict) const {
  return std::count_if(findings_.begin(), findings_.end(), [verdict](const Finding& f) {
    return f.verdict == verdict;
  });
}

int Report::exit_code() const {
  if (count(Verdict::differs) > 0) return kExitFailed;
  if (count(Verdict::unsupported) + count(Verdict::unreadable) > 0) return kExitModel;
  return count(Verdict::holds) > 0 ? kExitDone : kExitFailed;
}

std::string Report::text() const {
  std::string out;
  for (const Finding& f : findings_) {
    out += format("{:<11} {:<44}", name_of(f.verdict), f.field);
    if (f.count > 0) out += format(" {:>8} compared", f.count);
    if (f.allowed > 0) out += format("  error {:.3g}, allowed {:.3g}", f.error, f.allowed);
    out += f.note.empty() ? "\n" : "  " + f.note + "\n";
  }
  if (count(Verdict::holds) + count(Verdict::differs) == 0) out += "nothing was compared\n";
  return out + format("{} hold, {} differ, {} unsupported, {} unreadable, {} not judged\n",
                      count(Verdict::holds),
                      count(Verdict::differs),
                      count(Verdict::unsupported),
                      count(Verdict::unreadable),
                      count(Verdict::not_judged));
}

std::string Report::json(std::string_view folder) const {
  Json fields = Json::array();
  for (const Finding& f : findings_)
    fields.push_back({{"field", f.field},
                      {"verdict", name_of(f.verdict)},
                      {"compared", f.count},
                      {"error", f.error},
                      {"allowed", f.allowed},
                      {"note", f.note}});
  return json_text({{"case", folder}, {"exit_code", exit_code()}, {"fields", std::move(fields)}});
}

}  // namespace quern

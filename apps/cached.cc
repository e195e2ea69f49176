// SPDX-License-Identifier: Apache-2.0
// quern ls, show and rm: what the Hugging Face cache holds.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "commands.h"
#include "exit_codes.h"
#include "hub/cached_models.h"
#include "hub/progress.h"
#include "hub_environment.h"
#include "weights/hub_cache.h"

namespace quern {
namespace {

constexpr size_t kShortCommit = 12;

struct CacheCommand {
  std::vector<std::string> names;
  bool json = false, is_sure = false, only_names = false;
};

std::string refs_of(const CachedRevision& revision) {
  return revision.refs.empty() ? "-" : format("{}", fmt::join(revision.refs, ", "));
}

Json json_of(const CachedRevision& revision) {
  Json files = Json::array();
  for (const CachedFile& file : revision.files)
    files.push_back({{"path", file.path}, {"size_bytes", file.size_bytes}, {"blob", file.blob}});
  return {{"commit", revision.commit},
          {"refs", revision.refs},
          {"size_bytes", revision.size_bytes},
          {"architecture", revision.architecture},
          {"format", revision.format},
          {"files", std::move(files)}};
}

Json json_of(const CachedModel& model) {
  Json revisions = Json::array();
  for (const CachedRevision& revision : model.revisions) revisions.push_back(json_of(revision));
  return {{"id", model.id},
          {"folder", model.folder},
          {"size_bytes", model.size_bytes},
          {"unfinished_bytes", model.unfinished_bytes},
          {"revisions", std::move(revisions)}};
}

void print_json(const Json& value) {
  std::printf("%s\n", value.dump(1).c_str());
}

std::string row(const CachedModel& model, const CachedRevision& revision) {
  return format("{:<44} {:<12} {:<16} {:>9}  {} {}",
                model.id,
                revision.commit.substr(0, kShortCommit),
                refs_of(revision),
                human_bytes(revision.size_bytes),
                revision.architecture.empty() ? "-" : revision.architecture,
                revision.format);
}

int list(const CacheCommand& c) {
  const std::string cache = hub_cache_or_fail();
  if (c.only_names) {
    for (const std::string& id : cached_ids(cache)) std::printf("%s\n", id.c_str());
    return kExitDone;
  }
  const std::vector<CachedModel> models = cached_models(cache);
  if (c.json) {
    Json out = Json::array();
    for (const CachedModel& model : models) out.push_back(json_of(model));
    print_json(out);
    return kExitDone;
  }
  if (models.empty()) {
    std::fprintf(stderr, "%s holds no models; quern pull ORG/NAME fetches one\n", cache.c_str());
    return kExitDone;
  }
  int64_t total = 0;
  std::printf("%-44s %-12s %-16s %9s  %s\n", "MODEL", "REVISION", "REFS", "SIZE", "WHAT IT IS");
  for (const CachedModel& model : models) {
    total += model.size_bytes;
    for (const CachedRevision& revision : model.revisions)
      std::printf("%s\n", row(model, revision).c_str());
    if (model.unfinished_bytes > 0)
      std::printf("%-44s %-12s %-16s %9s  quern pull %s goes on where it was cut\n",
                  model.id.c_str(),
                  "(unfinished)",
                  "-",
                  human_bytes(model.unfinished_bytes).c_str(),
                  model.id.c_str());
  }
  std::printf("%zu models, %s in %s\n", models.size(), human_bytes(total).c_str(), cache.c_str());
  return kExitDone;
}

struct Named {
  CachedModel model;
  std::string revision;  // empty: all
};

Named find_cached(const std::string& cache, const std::string& name) {
  const size_t at = name.find('@');
  return {cached_model_of(cache, name.substr(0, at)),
          at == std::string::npos ? std::string() : name.substr(at + 1)};
}

void show_revision(const CachedModel& model, const CachedRevision& revision) {
  std::printf(
      "\nrevision     %s (%s)\nfolder       %s/snapshots/%s\nwhat it is   %s %s\nsize         %s\n",
      revision.commit.c_str(),
      refs_of(revision).c_str(),
      model.folder.c_str(),
      revision.commit.c_str(),
      revision.architecture.empty() ? "-" : revision.architecture.c_str(),
      revision.format.c_str(),
      human_bytes(revision.size_bytes).c_str());
  for (const CachedFile& file : revision.files)
    std::printf("  %10s  %s\n",
                file.size_bytes < 0 ? "missing" : human_bytes(file.size_bytes).c_str(),
                file.path.c_str());
}

int show(const CacheCommand& c) {
  for (const std::string& name : c.names) {
    const auto [model, revision] = find_cached(hub_cache_or_fail(), name);
    if (c.json) {
      print_json(revision.empty() ? json_of(model) : json_of(revision_of(model, revision)));
      continue;
    }
    std::printf("model        %s\non disk      %s, of that %s unfinished\n",
                model.id.c_str(),
                human_bytes(model.size_bytes).c_str(),
                human_bytes(model.unfinished_bytes).c_str());
    if (!revision.empty())
      show_revision(model, revision_of(model, revision));
    else
      for (const CachedRevision& each : model.revisions) show_revision(model, each);
  }
  return kExitDone;
}

// Asks on the terminal; without one, nothing is removed unasked.
bool is_confirmed(const CacheCommand& c, const std::string& question) {
  if (c.is_sure) return true;
  if (isatty(STDIN_FILENO) != 1)
    fail(ErrorCode::invalid_argument,
         "{}: there is no terminal to ask at; say --yes to remove it unasked",
         question);
  std::fprintf(stderr, "%s? [y/N] ", question.c_str());
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

int remove(const CacheCommand& c) {
  const std::string cache = hub_cache_or_fail();
  bool has_refused = false;
  for (const std::string& name : c.names) {
    const auto [model, revision] = find_cached(cache, name);
    std::vector<std::string> commits;
    if (!revision.empty())
      commits.push_back(revision_of(model, revision).commit);
    else
      for (const CachedRevision& each : model.revisions) commits.push_back(each.commit);
    const Removal removal = plan_removal(model, commits);
    const std::string what = format(
        "remove {}, {} of {} revisions, {}{}",
        name,
        commits.size(),
        model.revisions.size(),
        human_bytes(removal.freed_bytes),
        removal.kept_bytes > 0
            ? format(" ({} stay: shared with other revisions)", human_bytes(removal.kept_bytes))
            : "");
    if (!is_confirmed(c, what)) {
      has_refused = true;
      continue;
    }
    remove_revisions(cache, model, removal);
    std::fprintf(
        stderr, "removed %s, %s freed\n", name.c_str(), human_bytes(removal.freed_bytes).c_str());
  }
  return has_refused ? kExitFailed : kExitDone;
}

CLI::Option* add_names(CLI::App& command, CacheCommand& c, const char* help) {
  return command.add_option("MODEL", c.names, help)->required();
}

}  // namespace

void add_cache_commands(CLI::App& parent, int& exit_code) {
  auto c = std::make_shared<CacheCommand>();
  CLI::App* ls = parent.add_subcommand("ls", "the models in the Hugging Face cache");
  ls->add_flag("--json", c->json, "one JSON array");
  ls->add_flag("--quiet,-q", c->only_names, "names only, one a line");
  ls->callback([c, &exit_code] { exit_code = list(*c); });
  CLI::App* shown = parent.add_subcommand("show", "one cached model: revisions, files, sizes");
  add_names(*shown, *c, "ORG/NAME, or ORG/NAME@REVISION");
  shown->add_flag("--json", c->json, "one JSON object a model");
  shown->callback([c, &exit_code] { exit_code = show(*c); });
  CLI::App* rm = parent.add_subcommand("rm", "remove models, or revisions of them, from the cache");
  add_names(
      *rm, *c, "ORG/NAME: all of it; ORG/NAME@REVISION: one revision, without what others share");
  rm->add_flag("--yes,-y", c->is_sure, "do not ask");
  rm->callback([c, &exit_code] { exit_code = remove(*c); });
}

}  // namespace quern

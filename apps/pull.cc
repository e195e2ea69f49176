// SPDX-License-Identifier: Apache-2.0
// quern pull: a model from the Hugging Face hub into its cache.
#include "hub/pull.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "base/clock.h"
#include "base/log.h"
#include "commands.h"
#include "exit_codes.h"
#include "hub/progress.h"
#include "hub_environment.h"

namespace quern {
namespace {

struct PullCommand {
  std::string model, revision;
  FileWish wish;
  int jobs = 8, retries = 5;
  double retry_delay_s = 1;
  bool only_looks = false, is_quiet = false;
};

int terminal_columns() {
  constexpr int kUsual = 80;
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsual;
}

// On a terminal one line that moves; elsewhere (a log) a line for each file, and one now and then.
class Display : public PullWatcher {
 public:
  Display(bool is_quiet, bool only_looks)
      : is_quiet_(is_quiet),
        only_looks_(only_looks),
        is_terminal_(!is_quiet && isatty(STDERR_FILENO) == 1) {}
  ~Display() override { wipe(); }
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;

  void planned(const PullPlan& plan) override {
    progress_.done_bytes = plan.present_bytes;
    progress_.total_bytes = plan.total_bytes;
    meter_.add(clock_.now_us(), progress_.done_bytes);
    say_skipped(plan.choice);
    if (only_looks_)
      for (const RepoFile& file : plan.choice.wanted)
        say(format("would fetch {}  {}", file.path, human_bytes(file.size_bytes)));
    say(format("{} files, {}; {} here already",
               plan.choice.wanted.size(),
               human_bytes(plan.total_bytes),
               human_bytes(plan.present_bytes)));
  }
  void advanced(int64_t bytes) override {
    constexpr int64_t kFrameUs = 100'000, kLineUs = 30'000'000;
    progress_.done_bytes += bytes;
    const int64_t now = clock_.now_us();
    if (now - drawn_us_ < (is_terminal_ ? kFrameUs : kLineUs)) return;
    const bool is_first = drawn_us_ == 0;
    drawn_us_ = now;
    meter_.add(now, progress_.done_bytes);
    progress_.bytes_per_s = meter_.bytes_per_s();
    if (is_terminal_)
      draw();
    else if (!is_first)
      say(progress_line(progress_, terminal_columns()));
  }
  void finished(const RepoFile& file) override {
    say(format("fetched {}  {}", file.path, human_bytes(file.size_bytes)));
  }
  void retrying(const std::string& what, int64_t pause_ms) override {
    say(format(
        "{}; trying again in {}", what, human_seconds(static_cast<double>(pause_ms) * 1e-3)));
  }

 private:
  void say(const std::string& line) {
    if (is_quiet_) return;
    wipe();
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  void draw() {
    std::fprintf(stderr, "\r\033[K%s", progress_line(progress_, terminal_columns() - 1).c_str());
    std::fflush(stderr);
  }
  void wipe() const {
    if (is_terminal_) std::fprintf(stderr, "\r\033[K");
  }
  // By reason: how many, how large, and the first few names.
  void say_skipped(const FileChoice& choice) {
    constexpr size_t kNamed = 4;
    std::map<std::string_view, std::vector<const RepoFile*>> by_reason;
    for (const SkippedFile& skipped : choice.skipped)
      by_reason[skipped.why].push_back(&skipped.file);
    for (const auto& [why, files] : by_reason) {
      int64_t bytes = 0;
      std::string names;
      for (size_t i = 0; i < files.size(); ++i) {
        bytes += std::max<int64_t>(files[i]->size_bytes, 0);
        if (i < kNamed) names += (i > 0 ? ", " : "") + files[i]->path;
      }
      say(format("skipped {} files, {} ({}): {}{}",
                 files.size(),
                 human_bytes(bytes),
                 why,
                 names,
                 files.size() > kNamed ? ", ..." : ""));
    }
  }

  bool is_quiet_, only_looks_, is_terminal_;
  MonotonicClock clock_;
  RateMeter meter_;
  Progress progress_;
  int64_t drawn_us_ = 0;
};

HubId id_of(const PullCommand& c) {
  const std::string argument = c.revision.empty() ? c.model : c.model + "@" + c.revision;
  const std::optional<HubId> id = parse_hub_id(argument);
  if (!id || (!c.revision.empty() && c.model.find('@') != std::string::npos))
    fail(ErrorCode::invalid_argument,
         "{}: expected a model of the hub as ORG/NAME or ORG/NAME@REVISION",
         argument);
  return *id;
}

// Without the network: what is cached will do, if it is there.
int answer_offline(const HubId& id) {
  const std::string name = id.repository + "@" + id.revision;
  const ResolvedModel model = resolve_model(name, lookup_of_environment());
  std::fprintf(stderr, "HF_HUB_OFFLINE is set: the hub was not asked; this is cached\n");
  std::printf("%s\n", model.path.c_str());
  return kExitDone;
}

int pull(const PullCommand& c) {
  set_log_level(LogLevel::warn);
  PullOptions options{.id = id_of(c),
                      .wish = c.wish,
                      .cache = hub_cache_or_fail(),
                      .jobs = c.jobs,
                      .only_looks = c.only_looks,
                      .hub = {}};
  if (is_hub_offline()) return answer_offline(options.id);
  options.hub = hub_options_of_environment();
  options.hub.retry.retries = c.retries;
  options.hub.retry.first_pause_ms = static_cast<int64_t>(c.retry_delay_s * 1000);
  PulledModel pulled;
  {
    Display display(c.is_quiet, c.only_looks);
    pulled = pull_model(options, display);
  }
  if (!c.only_looks) std::printf("%s\n", pulled.folder.c_str());
  return kExitDone;
}

}  // namespace

void add_pull_command(CLI::App& parent, int& exit_code) {
  auto c = std::make_shared<PullCommand>();
  CLI::App* command = parent.add_subcommand(
      "pull", "fetch a model from the Hugging Face hub into its cache; prints the folder");
  command->add_option("MODEL", c->model, "ORG/NAME or ORG/NAME@REVISION")->required();
  command->add_option("--revision", c->revision, "a branch, a tag or a commit (main)");
  command
      ->add_option("--include",
                   c->wish.include,
                   "only files that match one of these globs, such as \"*.json\"; without it: "
                   "config, tokenizer, templates and safetensors, or the model's only GGUF file")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--exclude", c->wish.exclude, "no files that match one of these globs")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--gguf",
                      c->wish.gguf,
                      "the GGUF model of this name, or with this word in its name (Q4_K_M), with "
                      "all its parts");
  command->add_option("--jobs", c->jobs, "files fetched at one time")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command->add_option("--retries", c->retries, "tries after a failure, in a row")
      ->capture_default_str()
      ->check(CLI::Range(0, 100));
  command
      ->add_option("--retry-delay",
                   c->retry_delay_s,
                   "seconds before the second try; twice as long before each further one, up to 60")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 60.0));
  command->add_flag("--dry-run", c->only_looks, "say what would be fetched and skipped, no more");
  command->add_flag("--quiet", c->is_quiet, "print the folder and errors only");
  command->callback([c, &exit_code] { exit_code = pull(*c); });
}

}  // namespace quern

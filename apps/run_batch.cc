// SPDX-License-Identifier: Apache-2.0
// quern run-batch: a file of requests, in OpenAI's batch format, answered without a server.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <thread>

#include "api/batch_line.h"
#include "api/pooling_run.h"
#include "api/random_id.h"
#include "base/file.h"
#include "base/log.h"
#include "batch_files.h"
#include "bell.h"
#include "commands.h"
#include "exit_codes.h"
#include "loaded_model.h"

namespace quern {
namespace {

std::atomic<bool> is_interrupted = false;  // by a signal
static_assert(std::atomic<bool>::is_always_lock_free);

struct BatchOptions {
  ModelOptions model;
  std::string input, output;
  std::vector<std::string> names;
  int concurrency = 0;  // 0: twice what the engine runs at a time
  bool overwrites = false;
};

// How far the batch is, said on standard error: on a terminal in one line that changes, else every
// half minute.
class Progress {
 public:
  Progress(int64_t lines, int64_t done, const Clock& clock)
      : lines_(lines), begun_at_(done), done_(done), clock_(clock), began_us_(clock.now_us()) {}

  void count(bool has_failed) {
    const std::lock_guard lock(mutex_);
    ++done_;
    failed_ += has_failed ? 1 : 0;
    const int64_t now = clock_.now_us();
    if (now - said_us_ < (is_terminal_ ? 250'000 : 30'000'000) && done_ < lines_) return;
    said_us_ = now;
    say(now);
  }
  int64_t done() const { return done_; }
  int64_t failed() const { return failed_; }
  void end_line() const {
    if (is_terminal_ && said_us_ > 0) std::fputc('\n', stderr);
  }

 private:
  void say(int64_t now) const {
    const double seconds = std::max(1e-3, static_cast<double>(now - began_us_) * 1e-6);
    const double rate = static_cast<double>(done_ - begun_at_) / seconds;
    const auto left = static_cast<int64_t>(static_cast<double>(lines_ - done_) / rate);
    const std::string text = format("{}/{} lines, {:.2f}/s, {}:{:02} left, {} failed",
                                    done_,
                                    lines_,
                                    rate,
                                    left / 60,
                                    left % 60,
                                    failed_);
    if (is_terminal_)
      std::fprintf(stderr, "\r%s\033[K", text.c_str());
    else
      log(LogLevel::info, "batch: {}", text);
  }

  const int64_t lines_, begun_at_;
  int64_t done_, failed_ = 0;
  const Clock& clock_;
  const int64_t began_us_;
  int64_t said_us_ = 0;
  const bool is_terminal_ = isatty(STDERR_FILENO) != 0;
  std::mutex mutex_;
};

// Where the queue is full, waits for the batch's own requests to leave it. What does not fit an
// empty one either never will.
std::unique_ptr<Generation> submit(const GenerationJob& job,
                                   Service& service,
                                   const std::string& id) {
  for (;;) {
    try {
      return job.submit(service, id);
    } catch (const Error& error) {
      const bool is_full = error.code() == ErrorCode::exhausted && service.stats().waiting > 0;
      if (!is_full || is_interrupted) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

// The whole answer of a job; an answer that failed is thrown.
std::string answer_of(GenerationJob& job, Service& service, const std::string& id) {
  const auto bell = std::make_shared<Bell>();
  const std::unique_ptr<Generation> generation = submit(job, service, id);
  generation->set_notify([bell] { bell->ring(); });
  std::vector<TextDelta> answers(static_cast<size_t>(job.choice_count()));
  while (!generation->is_finished() && !is_interrupted) {
    for (auto& [index, delta] : generation->poll())
      answers[static_cast<size_t>(index)].append(std::move(delta));
    if (!generation->is_finished()) bell->wait();
  }
  for (const TextDelta& answer : answers)
    if (has_failed(answer)) {
      const ApiError failure = failure_of(answer);
      throw Error(answer.error_code, failure.message);
    }
  return is_interrupted ? "" : job.format->whole(answers, generation->usage());
}

// The whole answer of a request for vectors. A queue that is full of others is waited for.
std::string answer_of(const PoolingJob& job, Service& service, const std::string& id) {
  const auto bell = std::make_shared<Bell>();
  PoolingRun run(service, id, job, [bell] { bell->ring(); });
  while (!run.is_finished() && !is_interrupted) {
    try {
      run.poll();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::exhausted || service.stats().waiting == 0) throw;
    }
    if (!run.is_finished()) bell->wait();
  }
  return is_interrupted ? "" : job.body(run.take(), run.usage());
}

class BatchRun {
 public:
  BatchRun(const BatchOptions& options,
           const BatchInput& input,
           BatchOutput& output,
           Service& service)
      : service_(service),
        output_(output),
        reader_(options.input),
        progress_(input.lines, static_cast<int64_t>(output.done()), clock_) {}

  // Answers all lines that have no answer yet, `workers` at a time.
  void run(int workers) {
    std::vector<std::thread> threads;
    for (int i = 0; i < workers; ++i)
      threads.emplace_back([this] {
        try {
          work();
        } catch (...) {
          const std::lock_guard lock(mutex_);
          if (!error_) error_ = std::current_exception();
          has_stopped_ = true;
        }
      });
    for (std::thread& thread : threads) thread.join();
    progress_.end_line();
    if (error_) std::rethrow_exception(error_);
  }
  const Progress& progress() const { return progress_; }

 private:
  void work() {
    std::string line;
    int64_t number = 0;
    while (take(line, number)) answer(line, number);
  }

  bool take(std::string& line, int64_t& number) {
    const std::lock_guard lock(mutex_);
    while (!has_stopped_ && !is_interrupted && reader_.next(line, number)) {
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const std::string id = custom_id_of(line);
      if (!output_.has(id.empty() ? bad_line_key(number) : id)) return true;
    }
    return false;
  }

  void answer(const std::string& text, int64_t number) {
    BatchLine line;
    try {
      line = BatchLine::parse(text);
    } catch (const Error& error) {
      finish(batch_bad_line(custom_id_of(text), number, api_error_of(error)), true);
      return;
    }
    const std::string id = random_id("req_");
    try {
      const std::string body = body_of(line, id);
      if (!is_interrupted) finish(batch_answer(line.custom_id, id, body), false);
    } catch (const std::exception& error) {
      if (!is_interrupted) finish(batch_failure(line.custom_id, id, api_error_of(error)), true);
    }
  }

  std::string body_of(const BatchLine& line, const std::string& id) {
    BatchJob job = batch_job(line,
                             {.service = service_,
                              .id = id,
                              .created = std::time(nullptr),
                              .seed = std::hash<std::string>()(line.custom_id),
                              .responses = nullptr,
                              .owner = {}});
    return std::visit([&](auto& one) { return answer_of(one, service_, id); }, job);
  }

  void finish(const std::string& line, bool has_failed) {
    output_.write(line);
    progress_.count(has_failed);
  }

  const MonotonicClock clock_;
  Service& service_;
  BatchOutput& output_;
  std::mutex mutex_;  // of the reader and the error
  LineReader reader_;
  Progress progress_;
  std::atomic<bool> has_stopped_ = false;
  std::exception_ptr error_;
};

// A second signal ends the process at once: what is on disk is whole.
void catch_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { is_interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int run_batch(const BatchOptions& o) {
  if (file_exists(o.output) && !o.overwrites)
    fail(ErrorCode::invalid_argument,
         "{} is there already; choose another output or give --overwrite",
         o.output);
  const BatchInput input = look_through(o.input);
  const MonotonicClock clock;
  BatchOutput output(o.output, input, clock);
  if (output.done() > 0)
    log(LogLevel::info, "batch: {} of {} lines are answered already", output.done(), input.lines);
  const std::unique_ptr<LoadedModel> loaded =
      LoadedModel::load(o.model, {.served_names = o.names, .on_workers_gone = {}});
  catch_signals();
  BatchRun run(o, input, output, loaded->service());
  run.run(o.concurrency > 0 ? o.concurrency : std::min(256, 2 * o.model.max_num_seqs));
  const int64_t done = run.progress().done();
  if (is_interrupted) {
    log(LogLevel::warn,
        "interrupted after {} of {} lines; the same command goes on from there",
        done,
        input.lines);
    return kExitInterrupted;
  }
  output.finish();
  log(LogLevel::info,
      "batch: {} lines answered, {} of them by an error, in {}",
      done,
      run.progress().failed(),
      o.output);
  return kExitDone;
}

}  // namespace

void add_run_batch_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<BatchOptions>();
  CLI::App* command =
      parent.add_subcommand("run-batch", "a file of requests (OpenAI's batch format), answered");
  add_model_options(*command, o->model);
  add_media_options(*command, o->model.media);
  add_pooling_options(*command, o->model.pooling);
  command->add_option("-i,--input-file", o->input, "requests, one JSON object a line")->required();
  command
      ->add_option("-o,--output-file",
                   o->output,
                   "answers; FILE.part until all are there, and an interrupted run goes on from it")
      ->required();
  command->add_flag("--overwrite", o->overwrites, "replace an output that is there");
  command->add_option("--served-model-name", o->names, "names that requests may call the model by")
      ->delimiter(',');
  command
      ->add_option("--concurrency",
                   o->concurrency,
                   "requests under way at one time (twice --max-num-seqs, at most 256)")
      ->check(CLI::Range(1, 1024));
  command->callback([o, &exit_code] { exit_code = run_batch(*o); });
}

}  // namespace quern

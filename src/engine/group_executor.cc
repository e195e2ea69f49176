// SPDX-License-Identifier: Apache-2.0
#include "engine/group_executor.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"

namespace quern {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr int kNewsMs = 300;         // a death is known a little after its neighbours complain
constexpr int kAgreementMs = 3'000;  // within which all ranks throw what all throw
constexpr int kLookMs = 100;
constexpr int64_t kUsPerMs = 1'000;

}  // namespace

struct GroupExecutor::Seat {
  std::unique_ptr<WorkerHandle> handle;
  std::mutex sending;
  std::thread listener;
  // Under the group's mutex:
  bool has_answered = false;
  std::string setup;
  std::optional<WorkerFailure> failure;
  std::optional<std::pair<Loss, std::string>> loss;
  WorkerPulse pulse;
  int64_t load_us = 0;
};

GroupExecutor::GroupExecutor(std::vector<std::unique_ptr<WorkerHandle>> workers,
                             const GroupOptions& options)
    : options_(options), begin_us_(clock_.now_us()) {
  QUERN_CHECK(
      options.answering_rank >= 0 && static_cast<size_t>(options.answering_rank) < workers.size(),
      "no rank answers");
  for (auto& worker : workers) {
    seats_.push_back(std::make_unique<Seat>());
    seats_.back()->handle = std::move(worker);
  }
  for (size_t rank = 0; rank < seats_.size(); ++rank)
    seats_[rank]->listener = std::thread([this, rank] { listen(static_cast<int>(rank)); });
}

GroupExecutor::~GroupExecutor() {
  is_over_ = true;
  for (const auto& seat : seats_) seat->handle->end();
  for (const auto& seat : seats_) seat->listener.join();
}

// One thread per worker. Its own clock of silence is the number of waits that ended without a
// message: a front that was itself stopped for a while blames nobody.
void GroupExecutor::listen(int rank) {
  WorkerHandle& worker = *seats_[static_cast<size_t>(rank)]->handle;
  int unanswered = 0;
  try {
    for (std::string bytes; !is_over_;) {
      if (worker.receive(bytes, options_.ping_ms)) {
        unanswered = 0;
        take(rank, bytes);
        continue;
      }
      if (unanswered++ == options_.most_pings) {
        lose(rank,
             Loss::silent,
             format("it gave no sign of life for {:.1f} s",
                    options_.ping_ms * options_.most_pings * 1e-3));
        worker.end();  // somebody may be waiting for it to take a plan
        return;
      }
      ping(rank);
      look_for_standstill();
    }
  } catch (const Error& e) {
    lose(rank, e.code() == ErrorCode::unavailable ? Loss::ended : Loss::complained, e.what());
  }
}

void GroupExecutor::take(int rank, std::string_view bytes) {
  const WorkerMessage message = unpack(bytes);
  Seat& seat = *seats_[static_cast<size_t>(rank)];
  switch (message.kind) {
    case MessageKind::pong: {
      const WorkerPulse pulse = parse_pulse(message.body);
      const std::lock_guard lock(mutex_);
      if (pulse.progress != seat.pulse.progress) moved_us_ = clock_.now_us();
      seat.pulse = pulse;
      return;
    }
    case MessageKind::setup: {
      const std::lock_guard lock(mutex_);
      if (step_ != 0u || seat.has_answered)
        fail(ErrorCode::data_loss, "it answered what nobody asked");
      seat.setup = message.body;
      return note_answer(rank);
    }
    case MessageKind::result:
      return take_result(rank, parse_result(message.body));
    case MessageKind::error:
      return take_failure(rank, parse_failure(message.body));
    default:
      fail(ErrorCode::data_loss, "it sent a message that only fronts send");
  }
}

void GroupExecutor::take_result(int rank, StepResult result) {
  const std::lock_guard lock(mutex_);
  if (result.epoch != options_.epoch || result.step != step_ || result.step == 0 ||
      seats_[static_cast<size_t>(rank)]->has_answered)
    fail(ErrorCode::data_loss, "it answered step {} of epoch {}", result.step, result.epoch);
  if (rank == options_.answering_rank) {
    result.encode_us = std::max(result.encode_us, result_.encode_us);
    result_ = std::move(result);
  } else {
    result_.encode_us = std::max(result.encode_us, result_.encode_us);
  }
  note_answer(rank);
}

void GroupExecutor::take_failure(int rank, WorkerFailure failure) {
  {
    const std::lock_guard lock(mutex_);
    Seat& seat = *seats_[static_cast<size_t>(rank)];
    if (failure.step != step_ || seat.has_answered)
      fail(ErrorCode::data_loss, "it failed in step {}", failure.step);
    const bool is_setup = failure.step == 0;
    if (is_setup || failure.code != ErrorCode::unavailable) {
      if (failed_us_ == 0) failed_us_ = clock_.now_us();
      seat.failure = std::move(failure);
      return note_answer(rank);
    }
  }
  lose(rank, Loss::complained, failure.text);  // it lost its neighbours
}

void GroupExecutor::note_answer(int rank) {
  seats_[static_cast<size_t>(rank)]->has_answered = true;
  moved_us_ = clock_.now_us();
  --missing_;
  changed_.notify_all();
}

void GroupExecutor::send(int rank, const std::string& message) {
  Seat& seat = *seats_[static_cast<size_t>(rank)];
  try {
    const std::lock_guard lock(seat.sending);
    seat.handle->send(message);
  } catch (const Error& e) {
    lose(rank, Loss::ended, e.what());
  }
}

// While a plan is being sent, its taking is the sign of life.
void GroupExecutor::ping(int rank) {
  Seat& seat = *seats_[static_cast<size_t>(rank)];
  const std::unique_lock lock(seat.sending, std::try_to_lock);
  if (lock.owns_lock()) seat.handle->send(pack(MessageKind::ping));
}

void GroupExecutor::look_for_standstill() {
  std::optional<Blame> blame;
  {
    const std::lock_guard lock(mutex_);
    if (!step_ || *step_ == 0 || missing_ == 0 || is_lost_) return;
    const int64_t now_us = clock_.now_us();
    if (failed_us_ != 0 && now_us - failed_us_ > kAgreementMs * kUsPerMs)
      blame = loner();
    else if (now_us - moved_us_ > options_.timeout_ms * kUsPerMs)
      blame = straggler();
  }
  if (blame) lose(blame->rank, blame->how, std::move(blame->text));
}

// The first of those that failed while the others wait for them in a collective.
GroupExecutor::Blame GroupExecutor::loner() const {
  int rank = 0;
  while (!seats_[static_cast<size_t>(rank)]->failure) ++rank;
  return {
      rank, Loss::stuck, "it failed alone: " + seats_[static_cast<size_t>(rank)]->failure->text};
}

// Whoever waits for the others has got as far as it could: the one furthest behind is to blame.
GroupExecutor::Blame GroupExecutor::straggler() const {
  size_t last = seats_.size();
  for (size_t rank = 0; rank < seats_.size(); ++rank)
    if (!seats_[rank]->has_answered &&
        (last == seats_.size() || seats_[rank]->pulse.progress < seats_[last]->pulse.progress))
      last = rank;
  return {static_cast<int>(last),
          Loss::stuck,
          format("step {} got no further for {:.1f} s; waited for {}",
                 *step_,
                 options_.timeout_ms * 1e-3,
                 names_of_waiting())};
}

std::string GroupExecutor::names_of_waiting() const {
  std::string out;
  for (size_t rank = 0; rank < seats_.size(); ++rank)
    if (!seats_[rank]->has_answered) out += format("{}rank {}", out.empty() ? "" : ", ", rank);
  return out;
}

void GroupExecutor::lose(int rank, Loss how, std::string text) {
  std::function<void()> on_loss;
  {
    const std::lock_guard lock(mutex_);
    auto& loss = seats_[static_cast<size_t>(rank)]->loss;
    if (!loss || how < loss->first) loss = {how, std::move(text)};
    if (!std::exchange(is_lost_, true)) on_loss = on_loss_;
  }
  changed_.notify_all();
  if (on_loss && !is_over_) on_loss();
}

// Gives the news a moment to come in, so that the culprit is named and not its neighbours.
void GroupExecutor::end_group(std::unique_lock<std::mutex>& lock) {
  if (end_) throw Error(*end_);
  const auto is_explained = [this] {
    return std::any_of(seats_.begin(), seats_.end(), [](const auto& seat) {
      return seat->loss && seat->loss->first != Loss::complained;
    });
  };
  changed_.wait_for(lock, Milliseconds(kNewsMs), is_explained);
  size_t culprit = 0;
  for (size_t rank = 0; rank < seats_.size(); ++rank) {
    const auto &loss = seats_[rank]->loss, &worst = seats_[culprit]->loss;
    if (loss && (!worst || loss->first < worst->first)) culprit = rank;
  }
  const auto [how, text] = *seats_[culprit]->loss;
  lock.unlock();
  is_over_ = true;
  std::string last_words;
  for (size_t rank = 0; rank < seats_.size(); ++rank) {
    std::string words = seats_[rank]->handle->end();
    if (rank == culprit) last_words = std::move(words);
  }
  lock.lock();
  end_.emplace(ErrorCode::unavailable,
               format("rank {} ({}) is lost: {}",
                      culprit,
                      seats_[culprit]->handle->place(),
                      how == Loss::ended ? last_words : text));
  throw Error(*end_);
}

void GroupExecutor::expect_answers(uint64_t step) {
  std::unique_lock lock(mutex_);
  if (is_lost_) end_group(lock);
  QUERN_CHECK(!step_ || missing_ == 0, "a plan is under way");
  step_ = step;
  missing_ = static_cast<int>(seats_.size());
  moved_us_ = clock_.now_us();
  failed_us_ = 0;
  result_ = {};
  for (const auto& seat : seats_) {
    seat->has_answered = false;
    seat->failure.reset();
    seat->setup.clear();
  }
}

std::vector<std::string> GroupExecutor::ask(const std::vector<std::string>& questions,
                                            int timeout_ms) {
  QUERN_CHECK(questions.size() == seats_.size(), "a question for every rank");
  expect_answers(0);
  for (size_t rank = 0; rank < seats_.size(); ++rank)
    send(static_cast<int>(rank), pack(MessageKind::setup, questions[rank]));
  const int64_t deadline_us = clock_.now_us() + timeout_ms * kUsPerMs;
  std::unique_lock lock(mutex_);
  const auto is_settled = [this] { return is_lost_ || missing_ == 0 || failed_us_ != 0; };
  while (!changed_.wait_for(lock, Milliseconds(kLookMs), is_settled)) {
    if (options_.should_stop != nullptr && *options_.should_stop)
      fail(ErrorCode::cancelled, "the start of the workers was broken off");
    if (clock_.now_us() > deadline_us)
      fail(ErrorCode::unavailable,
           "{} said nothing for {:.0f} s while starting",
           names_of_waiting(),
           timeout_ms * 1e-3);
  }
  if (is_lost_) end_group(lock);
  // A refusal that follows from another's is less telling: give the first one its moment.
  if (missing_ > 0)
    changed_.wait_for(lock, Milliseconds(kNewsMs), [this] { return is_lost_ || missing_ == 0; });
  std::vector<std::string> answers;
  for (size_t rank = 0; rank < seats_.size(); ++rank) {
    if (seats_[rank]->failure) fail_setup(static_cast<int>(rank));
    seats_[rank]->load_us = clock_.now_us() - begin_us_;
    answers.push_back(std::move(seats_[rank]->setup));
  }
  return answers;
}

// `rank` is the first that failed; another one's reason wins if it is not about its neighbours.
void GroupExecutor::fail_setup(int rank) const {
  for (size_t other = 0; other < seats_.size(); ++other) {
    const auto& failure = seats_[other]->failure;
    const auto& first = seats_[static_cast<size_t>(rank)]->failure;
    if (failure && failure->code != ErrorCode::unavailable && first->code == ErrorCode::unavailable)
      rank = static_cast<int>(other);
  }
  const Seat& seat = *seats_[static_cast<size_t>(rank)];
  fail(seat.failure->code, "rank {} ({}): {}", rank, seat.handle->place(), seat.failure->text);
}

void GroupExecutor::submit(StepPlan plan) {
  QUERN_CHECK(plan.epoch == options_.epoch && plan.step > 0,
              "a plan of epoch {}, step {} for workers of epoch {}",
              plan.epoch,
              plan.step,
              options_.epoch);
  expect_answers(plan.step);
  const std::string message = pack(MessageKind::plan, plan.serialize());
  for (size_t rank = 0; rank < seats_.size(); ++rank) send(static_cast<int>(rank), message);
}

bool GroupExecutor::wait(StepResult& result, int timeout_ms) {
  std::unique_lock lock(mutex_);
  const bool is_settled = changed_.wait_for(
      lock, Milliseconds(timeout_ms), [this] { return is_lost_ || (step_ && missing_ == 0); });
  if (!is_settled) return false;
  if (!is_lost_) {
    const auto has_failed = [](const auto& seat) { return seat->failure.has_value(); };
    const auto failed = std::find_if(seats_.begin(), seats_.end(), has_failed);
    if (failed == seats_.end() || std::all_of(seats_.begin(), seats_.end(), has_failed)) {
      finish_step(result);
      return true;
    }
    // One rank's cache and tables now differ from the others'.
    is_lost_ = true;
    (*failed)->loss = {Loss::complained, "it failed alone: " + (*failed)->failure->text};
  }
  end_group(lock);
}

void GroupExecutor::finish_step(StepResult& result) {
  step_.reset();
  const WorkerFailure* told = nullptr;
  for (const auto& seat : seats_)
    if (seat->failure && (told == nullptr || told->code == ErrorCode::internal))
      told = &*seat->failure;
  if (told != nullptr) throw Error(told->code, told->text);
  result = std::move(result_);
}

void GroupExecutor::check() {
  std::unique_lock lock(mutex_);
  if (is_lost_) end_group(lock);
}

void GroupExecutor::set_on_loss(std::function<void()> on_loss) {
  bool is_late = false;
  {
    const std::lock_guard lock(mutex_);
    is_late = is_lost_;
    on_loss_ = on_loss;
  }
  if (is_late) on_loss();
}

std::vector<WorkerReport> GroupExecutor::workers() const {
  const std::lock_guard lock(mutex_);
  std::vector<WorkerReport> out;
  for (size_t rank = 0; rank < seats_.size(); ++rank)
    out.push_back({static_cast<int>(rank),
                   seats_[rank]->handle->place(),
                   seats_[rank]->pulse.memory_bytes,
                   seats_[rank]->load_us});
  return out;
}

}  // namespace quern

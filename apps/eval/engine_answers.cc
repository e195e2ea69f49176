// SPDX-License-Identifier: Apache-2.0
#include "eval/engine_answers.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <thread>

#include "api/api_error.h"
#include "api/generation_job.h"
#include "api/random_id.h"
#include "bell.h"
#include "eval/request_body.h"

namespace quern::eval {
namespace {

// Where the queue is full, waits for other questions to leave it. What does not fit an empty one
// never will.
template <typename Submit>
auto submitted(Service& service, const Submit& submit) {
  for (;;) {
    try {
      return submit();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::exhausted || service.stats().waiting == 0) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

// Tokens behind a prompt stand where those of an answer would.
Prompt continued(const Prompt& prompt, std::span<const int32_t> more) {
  Prompt out = prompt;
  out.ids.insert(out.ids.end(), more.begin(), more.end());
  out.positions.clear();
  const size_t before = prompt.ids.size();
  for (size_t axis = 0; axis < static_cast<size_t>(prompt.axes); ++axis) {
    const auto begin = prompt.positions.begin() + static_cast<ptrdiff_t>(axis * before);
    out.positions.insert(out.positions.end(), begin, begin + static_cast<ptrdiff_t>(before));
    for (size_t i = before; i < out.ids.size(); ++i)
      out.positions.push_back(static_cast<int32_t>(i) + prompt.rope_delta);
  }
  return out;
}

ScoredChoices behind_messages(const Service& service, const Task& task, const TaskItem& item) {
  ChatMessages chat;
  chat.messages = std::make_shared<const Json>(messages_of(task, item));
  const std::shared_ptr<const Prompt> prompt = service.prepare(chat);
  ScoredChoices out{.prompts = {}, .from = static_cast<int64_t>(prompt->ids.size())};
  for (const std::string& choice : item.choices)
    out.prompts.push_back(std::make_shared<const Prompt>(
        continued(*prompt, service.tokenizer().encode(choice, {.add_special_tokens = false}))));
  return out;
}

int64_t shared_tokens(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  return std::ranges::mismatch(a, b).in1 - a.begin();
}

// Prompt and choice are one text to the tokenizer, which may join their ends: all choices are then
// scored from the token in front of that.
ScoredChoices behind_text(const Service& service, const TaskItem& item) {
  const std::vector<int32_t> alone = service.prepare(item.prompt, true)->ids;
  ScoredChoices out{.prompts = {}, .from = static_cast<int64_t>(alone.size())};
  for (const std::string& choice : item.choices) {
    out.prompts.push_back(service.prepare(item.prompt + choice, true));
    out.from = std::min(out.from, shared_tokens(alone, out.prompts.back()->ids));
  }
  return out;
}

// The sum of the log-probabilities of a prompt's tokens from `from` on.
double sum_of(EventStream& stream) {
  double sum = 0;
  TokenEvent event;
  for (bool is_done = false; !is_done;) {
    if (!stream.pop(event, 60'000)) {
      if (stream.is_finished())
        fail(ErrorCode::internal, "the engine gave no log-probabilities of a choice");
      continue;
    }
    if (event.finish == FinishReason::error) throw Error(event.error_code, event.error);
    for (const PromptLogprob& token : event.prompt_logprobs) sum += token.logprobs.at(0).logprob;
    is_done = event.finish != FinishReason::none;
  }
  return sum;
}

std::shared_ptr<EventStream> score(Service& service,
                                   const ScoredChoices& choices,
                                   const std::shared_ptr<const Prompt>& prompt) {
  return submitted(service, [&] {
    Request request{.id = random_id("eval-"), .prompt = prompt, .params = {}};
    request.params.max_tokens = 0;
    request.params.prompt_logprobs = 0;
    request.score_from = static_cast<int32_t>(choices.from);
    return service.submit(std::move(request));
  });
}

ItemResult choose(Service& service, const Task& task, const TaskItem& item) {
  const ScoredChoices choices = choices_of(service, task, item);
  ItemResult out;
  out.logprobs.push_back(sum_of(*score(service, choices, choices.prompts.front())));
  std::vector<std::shared_ptr<EventStream>> streams;
  for (size_t i = 1; i < choices.prompts.size(); ++i)
    streams.push_back(score(service, choices, choices.prompts[i]));
  for (const auto& stream : streams) out.logprobs.push_back(sum_of(*stream));
  judge_choices(item, out);
  return out;
}

ItemResult generate(Service& service, const Task& task, const TaskItem& item) {
  const JobContext context{.service = service, .id = random_id("eval-"), .owner = {}};
  const Json body = request_body(task, item);
  const GenerationJob job = item.messages ? chat_job(body, context) : completion_job(body, context);
  const auto bell = std::make_shared<Bell>();
  const std::unique_ptr<Generation> generation =
      submitted(service, [&] { return job.submit(service, context.id); });
  generation->set_notify([bell] { bell->ring(); });
  TextDelta whole;
  for (bool is_done = false; !is_done;) {
    is_done = generation->is_finished();
    for (auto& [index, delta] : generation->poll()) whole.append(std::move(delta));
    if (!is_done) bell->wait();
  }
  if (whole.finish == FinishReason::error) throw Error(whole.error_code, whole.error);
  ItemResult out;
  out.answer = std::move(whole.text);
  judge_answer(item, out);
  return out;
}

}  // namespace

ScoredChoices choices_of(const Service& service, const Task& task, const TaskItem& item) {
  ScoredChoices out =
      item.messages ? behind_messages(service, task, item) : behind_text(service, item);
  for (size_t i = 0; i < out.prompts.size(); ++i)
    if (static_cast<int64_t>(out.prompts[i]->ids.size()) <= out.from)
      fail(ErrorCode::invalid_argument, "choices[{}]: it has no tokens of its own", i);
  if (out.from < 1)
    fail(ErrorCode::invalid_argument,
         "prompt: not one of its tokens stays the same with a choice behind it: give it a longer "
         "text in front");
  return out;
}

ItemResult answer_by_engine(Service& service, const Task& task, const TaskItem& item) {
  return task.is_choice ? choose(service, task, item) : generate(service, task, item);
}

}  // namespace quern::eval

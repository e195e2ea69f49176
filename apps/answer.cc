// SPDX-License-Identifier: Apache-2.0
#include "answer.h"

#include <CLI/CLI.hpp>
#include <csignal>

#include "api/answer_constraint.h"
#include "api/generation.h"
#include "api/parsers/dialect_parser.h"
#include "base/clock.h"
#include "bell.h"

namespace quern {
namespace {

volatile std::sig_atomic_t is_interrupted = 0;

// While it lives, SIGINT only sets a mark.
class InterruptMark {
 public:
  InterruptMark() {
    is_interrupted = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { is_interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptMark() { sigaction(SIGINT, &before_, nullptr); }
  InterruptMark(const InterruptMark&) = delete;
  InterruptMark& operator=(const InterruptMark&) = delete;

 private:
  struct sigaction before_ = {};
};

SamplingParams params_of(const Service& service,
                         const Prompt& prompt,
                         const AnswerOptions& options) {
  SamplingFields fields = options.sampling;
  if (options.max_tokens > 0) fields.max_tokens = options.max_tokens;
  const ResolveLimits limits{.max_model_len = service.info().max_model_len,
                             .prompt_tokens = static_cast<int64_t>(prompt.ids.size())};
  return resolve(fields, service.defaults(), limits, service.tokenizer());
}

// Reads thoughts and drops them.
ParserFactory content_parser(const Service& service, const Prompt& prompt) {
  if (!service.dialects().reasoning) return {};
  DialectParser::Options options;
  options.reasoning = service.dialects().reasoning;
  options.prompt = thinking_at_end(prompt.text, *options.reasoning);
  options.shows_reasoning = false;
  return [options](int) { return std::make_unique<DialectParser>(options); };
}

std::string without_thoughts(const ParserFactory& parser, const std::string& text) {
  if (!parser) return text;
  const std::unique_ptr<AnswerParser> reader = parser(0);
  std::string out = reader->push(text).content;
  return out + reader->finish().content;
}

}  // namespace

void add_answer_options(CLI::App& command, AnswerOptions& o) {
  SamplingFields& s = o.sampling;
  constexpr const char* kGroup = "Sampling";
  command.add_option("--temperature", s.temperature, "0: always the likeliest token")
      ->group(kGroup)
      ->check(CLI::Range(0.0, 100.0));
  command.add_option("--top-p", s.top_p, "nucleus")->group(kGroup)->check(CLI::Range(0.0, 1.0));
  command.add_option("--top-k", s.top_k, "the k likeliest tokens; 0: all")->group(kGroup);
  command.add_option("--min-p", s.min_p, "least probability, as a share of the likeliest")
      ->group(kGroup)
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--repetition-penalty", s.repetition_penalty, "above 1: fewer repetitions")
      ->group(kGroup);
  command.add_option("--seed", s.seed, "random numbers depend on it and the position alone")
      ->group(kGroup);
  command
      .add_option("--max-tokens", o.max_tokens, "length of the answer; 0: as long as there is room")
      ->group(kGroup)
      ->check(CLI::Range(0, 1 << 24));
  command.add_option("--stop", s.text.stop, "the answer ends in front of this text")->group(kGroup);
  command.add_flag("--ignore-eos", s.ignore_eos, "go on after the end-of-sequence token")
      ->group(kGroup);
}

Answer answer(Service& service,
              std::shared_ptr<const Prompt> prompt,
              const AnswerOptions& options,
              FunctionRef<void(const std::string&)> on_text) {
  SamplingParams params = params_of(service, *prompt, options);
  TextOptions text = options.sampling.text;
  // Without its marks, thinking would melt into the answer.
  text.shown_special_ids = service.dialects().reasoning_markers;
  const ParserFactory parser = content_parser(service, *prompt);
  if (options.grammar)
    params.grammar = grammar_behind(service.compile(*options.grammar), service, *prompt);
  const InterruptMark mark;
  const MonotonicClock clock;
  Bell bell;
  Generation generation(service, "terminal", text, options.grammar ? parser : ParserFactory());
  Answer out;
  out.timings.prompt_tokens = static_cast<int64_t>(prompt->ids.size());
  const EngineStats before = service.stats();
  const int64_t begin = clock.now_us();
  generation.submit(std::move(prompt), params, {});
  generation.set_notify([&bell] { bell.ring(); });
  int64_t first = 0, last = 0;
  TextDelta whole;
  while (!generation.is_finished() && is_interrupted == 0) {
    for (Generation::IndexedDelta& piece : generation.poll()) {
      last = clock.now_us();
      if (first == 0) first = last;
      if (!piece.delta.text.empty()) on_text(piece.delta.text);
      whole.append(std::move(piece.delta));
    }
    if (!generation.is_finished()) bell.wait();
  }
  generation.cancel();
  if (whole.finish == FinishReason::error) throw Error(whole.error_code, whole.error);
  out.text = std::move(whole.text);
  out.content = options.grammar ? out.text : without_thoughts(parser, out.text);
  out.ids = std::move(whole.tokens);
  out.finish = is_interrupted != 0 ? FinishReason::cancelled : whole.finish;
  const EngineStats after = service.stats();
  out.timings.encode_s = static_cast<double>(after.encode_us - before.encode_us) * 1e-6;
  out.timings.prefill_s =
      std::max(0.0, static_cast<double>(first - begin) * 1e-6 - out.timings.encode_s);
  out.timings.decode_s = static_cast<double>(last - first) * 1e-6;
  out.timings.decoded_tokens = std::max<int64_t>(0, generation.usage().completion_tokens - 1);
  return out;
}

}  // namespace quern

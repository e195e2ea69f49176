// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <ctime>
#include <map>
#include <span>
#include <sstream>
#include <tuple>

#include "api/answer_format.h"
#include "base/topology.h"

namespace quern {
namespace {

using prometheus::ClientMetric;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::map<std::string, std::string>;
using Buckets = Histogram::BucketBoundaries;

const Buckets kFirstTokenBuckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                    1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const Buckets kTokenBuckets = {
    .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80};
const Buckets kRequestBuckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const Buckets kHttpBuckets = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300};

// 1, 2, 5, 10, 20, … up to `max`.
Buckets up_to(int64_t max) {
  Buckets out;
  for (double decade = 1; decade <= static_cast<double>(max); decade *= 10)
    for (const double step : {1., 2., 5.})
      if (step * decade <= static_cast<double>(max)) out.push_back(step * decade);
  return out;
}

double seconds(int64_t us) {
  return static_cast<double>(us) / 1e6;
}

MetricFamily family(
    std::string name, std::string help, MetricType type, const Labels& labels, double value) {
  MetricFamily out;
  out.name = std::move(name);
  out.help = std::move(help);
  out.type = type;
  ClientMetric metric;
  for (const auto& [key, text] : labels) metric.label.push_back({key, text});
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  out.metric.push_back(std::move(metric));
  return out;
}

// A name, what it counts, and how many there were.
using Counted = std::tuple<const char*, const char*, int64_t>;

}  // namespace

struct Metrics::State {
  explicit State(const ServiceInfo& served);
  Histogram& histogram(const std::string& name, const std::string& help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels,
                                                                                     buckets);
  }
  std::vector<MetricFamily> of_engine(const EngineStats& stats) const;
  void add_counters(std::vector<MetricFamily>& out, std::span<const Counted> counters) const {
    for (const auto& [name, help, value] : counters)
      out.push_back(family(name, help, MetricType::Counter, labels, static_cast<double>(value)));
  }
  void add_positions(std::vector<MetricFamily>& out, const SpeculationStats& stats) const;
  void add_workers(std::vector<MetricFamily>& out, const EngineStats& stats) const;
  void add_media(std::vector<MetricFamily>& out, const MediaStats& stats) const;
  void add_constants(std::vector<MetricFamily>& out) const;

  const ServiceInfo info;
  const Labels labels;
  const std::time_t started = std::time(nullptr);
  prometheus::Registry registry;
  Histogram &first_token, &between_tokens, &per_token, &per_token_old_name, &whole, &decode,
      &prompt_tokens, &output_tokens, &max_tokens, &choices;
  Family<Counter>&finished, &rejected, &http_requests;
  Family<Histogram>& http_seconds;
};

Metrics::State::State(const ServiceInfo& served)
    : info(served),
      labels{{"model_name", served.names.at(0)}, {"engine", "0"}},
      first_token(histogram("vllm:time_to_first_token_seconds",
                            "Seconds from a request's arrival to its first token.",
                            kFirstTokenBuckets)),
      between_tokens(histogram("vllm:inter_token_latency_seconds",
                               "Seconds between the tokens of an answer.",
                               kTokenBuckets)),
      per_token(histogram("vllm:request_time_per_output_token_seconds",
                          "Mean seconds per token of an answer, the first one left out.",
                          kTokenBuckets)),
      per_token_old_name(histogram("vllm:time_per_output_token_seconds",
                                   "An older name of vllm:inter_token_latency_seconds.",
                                   kTokenBuckets)),
      whole(histogram("vllm:e2e_request_latency_seconds",
                      "Seconds from a request's arrival to the end of an answer.",
                      kRequestBuckets)),
      decode(histogram("vllm:request_decode_time_seconds",
                       "Seconds from the first to the last token of an answer.",
                       kRequestBuckets)),
      prompt_tokens(histogram(
          "vllm:request_prompt_tokens", "Tokens of a prompt.", up_to(served.max_model_len))),
      output_tokens(histogram(
          "vllm:request_generation_tokens", "Tokens of an answer.", up_to(served.max_model_len))),
      max_tokens(histogram("vllm:request_params_max_tokens",
                           "max_tokens of a prompt's request.",
                           up_to(served.max_model_len))),
      choices(histogram("vllm:request_params_n", "n of a request.", {1, 2, 5, 10, 20})),
      finished(prometheus::BuildCounter()
                   .Name("vllm:request_success_total")
                   .Help("Answers that ended, by reason.")
                   .Register(registry)),
      rejected(prometheus::BuildCounter()
                   .Name("vllm:admission_rejections_total")
                   .Help("Requests turned away.")
                   .Register(registry)),
      http_requests(prometheus::BuildCounter()
                        .Name("http_requests_total")
                        .Help("HTTP requests answered.")
                        .Register(registry)),
      http_seconds(prometheus::BuildHistogram()
                       .Name("http_request_duration_seconds")
                       .Help("Seconds to answer an HTTP request.")
                       .Register(registry)) {
  for (const char* reason : {"stop", "length", "abort", "error"}) {
    Labels with = labels;
    with["finished_reason"] = reason;
    finished.Add(with);
  }
  rejected.Add({{"model_name", served.names.at(0)}, {"reason", "queue_full"}});
}

// Numbers that the engine keeps are shown as they are at the moment of the scrape.
std::vector<MetricFamily> Metrics::State::of_engine(const EngineStats& stats) const {
  const auto used = static_cast<double>(stats.blocks_used);
  const auto total = static_cast<double>(stats.blocks_total);
  const double usage = total > 0 ? used / total : 0;
  const double age_s = seconds(stats.last_step_age_us);
  const auto epoch = static_cast<double>(stats.epoch);
  const std::tuple<const char*, const char*, double> gauges[] = {
      {"vllm:num_requests_running", "Requests that the engine works on.", stats.running},
      {"vllm:num_requests_waiting", "Requests that wait for the engine.", stats.waiting},
      {"vllm:num_requests_swapped", "Requests that were preempted and wait.", stats.swapped},
      {"vllm:kv_cache_usage_perc", "KV blocks in use, 0 to 1.", usage},
      {"vllm:gpu_cache_usage_perc", "An older name of vllm:kv_cache_usage_perc.", usage},
      {"vllm:cpu_cache_usage_perc", "0: nothing is swapped. Older dashboards read it.", 0.0},
      {"quern:kv_blocks_total", "KV blocks.", total},
      {"quern:kv_blocks_used", "KV blocks that live requests hold.", used},
      {"quern:engine_stalled",
       "1 while a step takes longer than it may.",
       stats.is_stalled ? 1 : 0},
      {"quern:last_step_age_seconds", "Seconds since the last step; 0 when idle.", age_s},
      {"quern:worker_epoch", "Rises when workers are replaced.", epoch},
      {"quern:workers_recovering",
       "1 while lost workers are being replaced.",
       stats.is_recovering ? 1 : 0}};
  const Counted counters[] = {
      {"vllm:prompt_tokens_total", "Prompt tokens.", stats.prompt_tokens},
      {"vllm:generation_tokens_total", "Tokens generated.", stats.generated_tokens},
      {"vllm:prompt_tokens_cached_total", "Prompt tokens that were cached.", stats.cached_tokens},
      {"vllm:prefix_cache_queries_total", "Prompt tokens looked up.", stats.prompt_tokens},
      {"vllm:prefix_cache_hits_total", "Prompt tokens that were cached.", stats.cached_tokens},
      {"vllm:gpu_prefix_cache_queries_total",
       "An older name of vllm:prefix_cache_queries_total.",
       stats.prompt_tokens},
      {"vllm:gpu_prefix_cache_hits_total",
       "An older name of vllm:prefix_cache_hits_total.",
       stats.cached_tokens},
      {"vllm:num_preemptions_total", "Requests that gave up their blocks.", stats.preemptions},
      {"quern:steps_total", "Steps of the engine.", stats.steps},
      {"quern:numeric_errors_total",
       "Requests that failed because logits were no numbers.",
       stats.numeric_errors},
      {"quern:stalls_total", "Steps that took longer than they may.", stats.stalls},
      {"vllm:spec_decode_num_drafts_total", "Drafts tried.", stats.speculation.drafts},
      {"vllm:spec_decode_num_draft_tokens_total",
       "Tokens of drafts tried.",
       stats.speculation.draft_tokens},
      {"vllm:spec_decode_num_accepted_tokens_total",
       "Tokens of drafts that were accepted.",
       stats.speculation.accepted_tokens},
      {"quern:worker_losses_total", "Losses of workers.", stats.losses}};
  std::vector<MetricFamily> out;
  for (const auto& [name, help, value] : gauges)
    out.push_back(family(name, help, MetricType::Gauge, labels, value));
  add_counters(out, counters);
  out.push_back(family("quern:worker_recovery_seconds_total",
                       "Seconds from losses until new workers were ready.",
                       MetricType::Counter,
                       labels,
                       seconds(stats.recovery_us)));
  add_positions(out, stats.speculation);
  Labels by_reason = labels;
  by_reason["reason"] = "capacity";
  out.push_back(family("vllm:num_requests_waiting_by_reason",
                       "Requests that wait for the engine, by what they wait for.",
                       MetricType::Gauge,
                       by_reason,
                       stats.waiting));
  add_workers(out, stats);
  return out;
}

// As many positions as drafts may have.
void Metrics::State::add_positions(std::vector<MetricFamily>& out,
                                   const SpeculationStats& stats) const {
  for (int position = 0; position < info.speculative_tokens; ++position) {
    Labels of_position = labels;
    of_position["position"] = std::to_string(position);
    MetricFamily one = family("vllm:spec_decode_num_accepted_tokens_per_pos_total",
                              "Tokens of drafts that were accepted, by their place in the draft.",
                              MetricType::Counter,
                              of_position,
                              static_cast<double>(stats.accepted_per_position[position]));
    if (position == 0)
      out.push_back(std::move(one));
    else
      out.back().metric.push_back(std::move(one.metric.front()));
  }
}

void Metrics::State::add_workers(std::vector<MetricFamily>& out, const EngineStats& stats) const {
  for (const WorkerReport& worker : stats.workers) {
    Labels of_rank = labels;
    of_rank["rank"] = std::to_string(worker.rank);
    MetricFamily one = family("quern:worker_memory_bytes",
                              "Memory of a worker process, less what an empty one takes.",
                              MetricType::Gauge,
                              of_rank,
                              static_cast<double>(worker.memory_bytes));
    if (worker.rank == 0)
      out.push_back(std::move(one));
    else
      out.back().metric.push_back(std::move(one.metric.front()));
  }
}

void Metrics::State::add_media(std::vector<MetricFamily>& out, const MediaStats& stats) const {
  const Counted counters[] = {
      {"vllm:mm_cache_queries_total", "Pictures and clips looked up.", stats.cache.queries},
      {"vllm:mm_cache_hits_total",
       "Pictures and clips that need not be decoded again.",
       stats.cache.hits},
      {"quern:media_decoder_losses_total",
       "Processes that decode media and died, hung or made no sense.",
       stats.decoder_losses}};
  add_counters(out, counters);
  out.push_back(family("quern:mm_cache_bytes",
                       "Memory of decoded media that are kept.",
                       MetricType::Gauge,
                       labels,
                       static_cast<double>(stats.cache.bytes)));
}

void Metrics::State::add_constants(std::vector<MetricFamily>& out) const {
  Labels cache = labels;
  cache["block_size"] = std::to_string(info.block_size);
  cache["num_gpu_blocks"] = std::to_string(info.num_blocks);
  cache["cache_dtype"] = info.kv_dtype;
  const auto memory = static_cast<double>(resident_bytes());
  const double cpu_s = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  const auto start = static_cast<double>(started);
  const auto gauge = MetricType::Gauge;
  out.push_back(family("vllm:cache_config_info", "How the KV cache is laid out.", gauge, cache, 1));
  out.push_back(family("process_resident_memory_bytes", "Memory in use.", gauge, {}, memory));
  out.push_back(family("process_start_time_seconds", "Start, since 1970.", gauge, {}, start));
  out.push_back(
      family("process_cpu_seconds_total", "Processor time.", MetricType::Counter, {}, cpu_s));
}

Metrics::Metrics(const ServiceInfo& info) : state_(std::make_unique<State>(info)) {}
Metrics::~Metrics() = default;

std::string Metrics::expose(const EngineStats& stats, const MediaStats& media) const {
  std::vector<MetricFamily> families = state_->of_engine(stats);
  state_->add_media(families, media);
  state_->add_constants(families);
  for (MetricFamily& one : state_->registry.Collect()) families.push_back(std::move(one));
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

void Metrics::count_http(std::string_view handler,
                         std::string_view method,
                         int status,
                         double elapsed_seconds) {
  Labels labels = {{"handler", std::string(handler)}, {"method", std::string(method)}};
  state_->http_seconds.Add(labels, kHttpBuckets).Observe(elapsed_seconds);
  labels["status"] = format("{}xx", status / 100);
  state_->http_requests.Add(labels).Increment();
}

void Metrics::count_rejection(std::string_view reason) {
  state_->rejected.Add({{"model_name", state_->info.names.at(0)}, {"reason", std::string(reason)}})
      .Increment();
}

GenerationMeter::GenerationMeter(Metrics& metrics,
                                 const Clock& clock,
                                 int64_t arrived_us,
                                 const GenerationJob& job)
    : metrics_(metrics),
      clock_(clock),
      arrived_us_(arrived_us),
      choices_(static_cast<size_t>(job.choice_count())) {
  Metrics::State& m = *metrics_.state_;
  m.choices.Observe(job.submitted.n);
  for (const auto& prompt : job.prompts)
    m.prompt_tokens.Observe(static_cast<double>(prompt->ids.size()));
  for (const SamplingParams& params : job.params) m.max_tokens.Observe(params.max_tokens);
}

void GenerationMeter::count(std::span<const Generation::IndexedDelta> deltas) {
  Metrics::State& m = *metrics_.state_;
  const int64_t now_us = clock_.now_us();
  for (const auto& [index, delta] : deltas) {
    Choice& choice = choices_.at(static_cast<size_t>(index));
    if (delta.finish != FinishReason::none) choice.finish = delta.finish;
    if (delta.tokens.empty()) continue;
    if (choice.first_us == 0) {
      choice.first_us = now_us;
      m.first_token.Observe(seconds(now_us - arrived_us_));
    } else {
      m.between_tokens.Observe(seconds(now_us - choice.last_us));
      m.per_token_old_name.Observe(seconds(now_us - choice.last_us));
    }
    choice.last_us = now_us;
    choice.tokens += static_cast<int64_t>(delta.tokens.size());
  }
}

GenerationMeter::~GenerationMeter() {
  Metrics::State& m = *metrics_.state_;
  const int64_t now_us = clock_.now_us();
  for (const Choice& choice : choices_) {
    Labels labels = m.labels;
    labels["finished_reason"] =
        choice.finish == FinishReason::none ? "abort" : std::string(name_of(choice.finish));
    m.finished.Add(labels).Increment();
    m.whole.Observe(seconds(now_us - arrived_us_));
    m.output_tokens.Observe(static_cast<double>(choice.tokens));
    m.decode.Observe(seconds(choice.last_us - choice.first_us));
    if (choice.tokens > 1)
      m.per_token.Observe(seconds(choice.last_us - choice.first_us) /
                          static_cast<double>(choice.tokens - 1));
  }
}

PoolingMeter::PoolingMeter(Metrics& metrics,
                           const Clock& clock,
                           int64_t arrived_us,
                           const PoolingJob& job)
    : metrics_(metrics), clock_(clock), arrived_us_(arrived_us), prompts_(job.prompts.size()) {
  for (const auto& prompt : job.prompts)
    metrics_.state_->prompt_tokens.Observe(static_cast<double>(prompt->ids.size()));
}

PoolingMeter::~PoolingMeter() {
  Metrics::State& m = *metrics_.state_;
  const double elapsed = seconds(clock_.now_us() - arrived_us_);
  for (size_t i = 0; i < prompts_; ++i) {
    Labels labels = m.labels;
    labels["finished_reason"] = i < done_ ? "stop" : "abort";
    m.finished.Add(labels).Increment();
    m.whole.Observe(elapsed);
  }
}

}  // namespace quern

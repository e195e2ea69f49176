// SPDX-License-Identifier: Apache-2.0
#include "bench/serve_result.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bench/statistics.h"

namespace quern::bench {
namespace {

struct Times {
  std::vector<double> ttft_ms, tpot_ms, itl_ms, e2el_ms;
};

// Milliseconds per token after the first; 0 for an answer of one token.
double tpot_ms(const Outcome& o) {
  return o.output_tokens > 1
             ? (o.latency_s - o.ttft_s) * 1e3 / static_cast<double>(o.output_tokens - 1)
             : 0;
}

Times times_of(const std::vector<Outcome>& outcomes) {
  Times out;
  for (const Outcome& o : outcomes) {
    if (!o.is_success) continue;
    out.ttft_ms.push_back(o.ttft_s * 1e3);
    out.e2el_ms.push_back(o.latency_s * 1e3);
    if (o.output_tokens > 1) out.tpot_ms.push_back(tpot_ms(o));
    for (const double s : o.itl_s) out.itl_ms.push_back(s * 1e3);
  }
  return out;
}

void add_summary(Json& fields, const std::string& name, std::vector<double> values) {
  const Summary s = summarize(std::move(values));
  fields["mean_" + name] = s.mean;
  fields["median_" + name] = s.median;
  fields["std_" + name] = s.std;
  fields["p50_" + name] = s.p50;
  fields["p90_" + name] = s.p90;
  fields["p99_" + name] = s.p99;
}

bool is_good(const Outcome& o, const Goodput& limits) {
  const auto holds = [](double value, double limit) { return limit <= 0 || value <= limit; };
  return o.is_success && holds(o.ttft_s * 1e3, limits.ttft_ms) &&
         holds(tpot_ms(o), limits.tpot_ms) && holds(o.latency_s * 1e3, limits.e2el_ms);
}

void add_requests(Json& fields, const std::vector<Outcome>& outcomes) {
  Json starts = Json::array(), inputs = Json::array(), outputs = Json::array(),
       ttfts = Json::array(), itls = Json::array(), errors = Json::array();
  for (const Outcome& o : outcomes) {
    starts.push_back(o.sent_s);
    inputs.push_back(o.input_tokens);
    outputs.push_back(o.output_tokens);
    ttfts.push_back(o.ttft_s);
    itls.push_back(o.itl_s);
    errors.push_back(o.error);
  }
  fields["start_times"] = std::move(starts);
  fields["input_lens"] = std::move(inputs);
  fields["output_lens"] = std::move(outputs);
  fields["ttfts"] = std::move(ttfts);
  fields["itls"] = std::move(itls);
  fields["errors"] = std::move(errors);
}

struct Line {
  const char* label;
  const char* field;
};

void add_lines(std::string& out, const Json& fields, std::initializer_list<Line> lines) {
  for (const Line& line : lines) {
    if (!fields.contains(line.field)) continue;
    const Json& value = fields.at(line.field);
    out += value.is_number_float() ? format("{:<40} {:<10.2f}\n", line.label, value.get<double>())
                                   : format("{:<40} {:<10}\n", line.label, value.get<int64_t>());
  }
}

void add_times(std::string& out, const Json& fields, const char* title, const std::string& name) {
  out += format("{:-^50}\n", title);
  std::string shown = name;
  std::transform(shown.begin(), shown.end(), shown.begin(), [](unsigned char c) {
    return static_cast<char>(std::toupper(c));
  });
  for (const char* what : {"Mean", "Median", "P90", "P99"}) {
    std::string field = what;
    field[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(field[0])));
    out += format("{:<40} {:<10.2f}\n",
                  format("{} {} (ms):", what, shown),
                  fields.at(format("{}_{}_ms", field, name)).get<double>());
  }
}

// Where all requests come at once, the load is what the server got done.
double offered_load(const Json& run) {
  const Json& rate = run.at("request_rate");
  return rate.is_number() ? rate.get<double>() : run.at("request_throughput").get<double>();
}

Plot over_load(const std::vector<Json>& runs,
               const char* title,
               const char* y_label,
               std::initializer_list<Line> series) {
  Plot plot{.title = title,
            .x_label = "requests per second",
            .y_label = y_label,
            .is_log = false,
            .series = {}};
  for (const Line& line : series) {
    Series s{.name = line.label, .points = {}};
    for (const Json& run : runs)
      s.points.emplace_back(offered_load(run), run.at(line.field).get<double>());
    std::sort(s.points.begin(), s.points.end());
    plot.series.push_back(std::move(s));
  }
  return plot;
}

}  // namespace

Goodput Goodput::parse(const std::vector<std::string>& parts) {
  Goodput out;
  for (const std::string& part : parts) {
    const size_t colon = std::min(part.find(':'), part.size());
    const std::string name = part.substr(0, colon);
    double* limit = name == "ttft"   ? &out.ttft_ms
                    : name == "tpot" ? &out.tpot_ms
                    : name == "e2el" ? &out.e2el_ms
                                     : nullptr;
    const char* begin = part.data() + std::min(colon + 1, part.size());
    const char* end = part.data() + part.size();
    if (!limit || std::from_chars(begin, end, *limit).ptr != end || !(*limit > 0))
      fail(ErrorCode::invalid_argument,
           "--goodput: expected ttft:MS, tpot:MS or e2el:MS, got \"{}\"",
           part);
  }
  return out;
}

Json serve_fields(const LoadResult& load, const Goodput& goodput) {
  int64_t completed = 0, input = 0, output = 0, good = 0;
  for (const Outcome& o : load.outcomes) {
    if (!o.is_success) continue;
    ++completed;
    input += o.input_tokens;
    output += o.output_tokens;
    good += is_good(o, goodput) ? 1 : 0;
  }
  const double duration = std::max(load.duration_s, 1e-9);
  const auto per_second = [&](int64_t n) { return static_cast<double>(n) / duration; };
  Json fields = {{"duration", load.duration_s},
                 {"completed", completed},
                 {"failed", static_cast<int64_t>(load.outcomes.size()) - completed},
                 {"total_input_tokens", input},
                 {"total_output_tokens", output},
                 {"request_throughput", per_second(completed)},
                 {"output_throughput", per_second(output)},
                 {"total_token_throughput", per_second(input + output)},
                 {"max_concurrent_requests", load.most_at_once}};
  if (goodput.is_asked()) fields["request_goodput"] = per_second(good);
  Times times = times_of(load.outcomes);
  add_summary(fields, "ttft_ms", std::move(times.ttft_ms));
  add_summary(fields, "tpot_ms", std::move(times.tpot_ms));
  add_summary(fields, "itl_ms", std::move(times.itl_ms));
  add_summary(fields, "e2el_ms", std::move(times.e2el_ms));
  add_requests(fields, load.outcomes);
  return fields;
}

std::string serve_text(const Json& fields) {
  std::string out = format("{:=^50}\n", " Serving Benchmark Result ");
  add_lines(out,
            fields,
            {{"Successful requests:", "completed"},
             {"Failed requests:", "failed"},
             {"Benchmark duration (s):", "duration"},
             {"Total input tokens:", "total_input_tokens"},
             {"Total generated tokens:", "total_output_tokens"},
             {"Request throughput (req/s):", "request_throughput"},
             {"Request goodput (req/s):", "request_goodput"},
             {"Output token throughput (tok/s):", "output_throughput"},
             {"Peak concurrent requests:", "max_concurrent_requests"},
             {"Total Token throughput (tok/s):", "total_token_throughput"}});
  add_times(out, fields, "Time to First Token", "ttft");
  add_times(out, fields, "Time per Output Token (excl. 1st token)", "tpot");
  add_times(out, fields, "Inter-token Latency", "itl");
  add_times(out, fields, "End-to-end Latency", "e2el");
  return out + std::string(50, '=') + "\n";
}

std::vector<Plot> load_plots(const std::vector<Json>& runs) {
  return {over_load(runs,
                    "time to first token over load",
                    "ms",
                    {{"median", "median_ttft_ms"}, {"p90", "p90_ttft_ms"}, {"p99", "p99_ttft_ms"}}),
          over_load(runs,
                    "time per output token over load",
                    "ms",
                    {{"median", "median_tpot_ms"}, {"p90", "p90_tpot_ms"}, {"p99", "p99_tpot_ms"}}),
          over_load(
              runs,
              "throughput over load",
              "tok/s",
              {{"output tokens", "output_throughput"}, {"all tokens", "total_token_throughput"}})};
}

}  // namespace quern::bench

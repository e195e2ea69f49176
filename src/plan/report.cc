// SPDX-License-Identifier: Apache-2.0
#include "plan/report.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "weights/quantization_config.h"

namespace quern {
namespace {

constexpr int64_t kUnbounded = std::numeric_limits<int32_t>::max();

std::string gib(int64_t bytes) {
  return format("{:.3f}", static_cast<double>(bytes) / (int64_t{1} << 30));
}

// A line of the table: a name, what each rank has, and what there is in all.
struct Row {
  const char* name;
  std::function<std::string(const RankPlan&)> of;
  std::string whole;
};

// Ranks that hold and take the same share a column.
struct Column {
  const RankPlan* plan;
  std::string title;
};

std::string text_of_axes(const RankPlan& r) {
  const RankBytes& b = r.bytes;
  return format("{} {} {} {} {} {} {} {} {} {} {}",
                r.experts,
                r.expert_ffn,
                r.stage,
                r.layers,
                r.heads,
                r.kv_heads,
                r.ffn,
                r.vocab,
                r.tower_ffn,
                b.weights(),
                b.fixed());
}

std::vector<Column> columns_of(const Deployment& d) {
  std::vector<Column> out;
  for (size_t begin = 0, end; begin < d.ranks.size(); begin = end) {
    const std::string same = text_of_axes(d.ranks[begin]);
    for (end = begin + 1; end < d.ranks.size() && text_of_axes(d.ranks[end]) == same;) ++end;
    out.push_back(
        {&d.ranks[begin],
         end - begin == 1 ? format("rank {}", begin) : format("ranks {}-{}", begin, end - 1)});
  }
  return out;
}

std::vector<Row> shard_rows(const PlanRequest& q) {
  const ModelAxes& a = q.axes;
  const auto count = [](int64_t RankPlan::*part) {
    return [part](const RankPlan& r) { return format("{}", r.*part); };
  };
  std::vector<Row> rows = {
      {"layers", count(&RankPlan::layers), format("{}", a.layers)},
      {"attention heads", count(&RankPlan::heads), format("{} of {}", a.heads, a.head_size)},
      {"KV heads", count(&RankPlan::kv_heads), format("{}", a.kv_heads)},
      {"MLP units", count(&RankPlan::ffn), format("{}", a.ffn)}};
  if (a.group > 0)
    rows.push_back({"  in whole groups",
                    [](const RankPlan& r) {
                      return format("{}", (r.ffn + r.ffn_granule - 1) / r.ffn_granule);
                    },
                    format("{} of {}", (a.ffn + a.group - 1) / a.group, a.group)});
  if (a.experts > 0) {
    rows.push_back({"experts of a layer", count(&RankPlan::experts), format("{}", a.experts)});
    rows.push_back({"  units of each", count(&RankPlan::expert_ffn), format("{}", a.expert_ffn)});
  }
  rows.push_back({"vocabulary rows", count(&RankPlan::vocab), format("{}", a.vocab)});
  if (a.has_vision) rows.push_back({"tower MLP units", count(&RankPlan::tower_ffn), ""});
  return rows;
}

std::vector<Row> byte_rows(const PlanRequest& q) {
  const auto part = [](int64_t RankBytes::*bytes) {
    return [bytes](const RankPlan& r) { return gib(r.bytes.*bytes); };
  };
  const int64_t length = q.subjects.config.max_model_len;
  return {
      {"embedding table", part(&RankBytes::table), ""},
      {"output matrix", part(&RankBytes::head), ""},
      {"attention", part(&RankBytes::attention), ""},
      {"MLP", part(&RankBytes::mlp), ""},
      {"experts", part(&RankBytes::experts), ""},
      {"vision tower", part(&RankBytes::tower), ""},
      {"norms", part(&RankBytes::vectors), ""},
      {"weights in all", [](const RankPlan& r) { return gib(r.bytes.weights()); }, ""},
      {"scratch", part(&RankBytes::scratch), ""},
      {"encoded pictures", part(&RankBytes::media), ""},
      {"logits", part(&RankBytes::logits), ""},
      {"KV cache",
       [length](const RankPlan& r) { return gib(length * r.bytes.kv_per_token); },
       format("one sequence of {} tokens", length)},
      {"total",
       [length](const RankPlan& r) { return gib(r.bytes.fixed() + length * r.bytes.kv_per_token); },
       ""}};
}

std::string table(const std::vector<Column>& columns,
                  const std::vector<Row>& rows,
                  const std::string& title,
                  const std::string& last) {
  std::string out = format("{:<20}", title);
  for (const Column& c : columns) out += format("{:>13}", c.title);
  out += last.empty() ? "\n" : format("   {}\n", last);
  for (const Row& row : rows) {
    out += format("{:<20}", row.name);
    for (const Column& c : columns) out += format("{:>13}", row.of(*c.plan));
    out += row.whole.empty() ? "\n" : format("   {}\n", row.whole);
  }
  return out;
}

std::string rate(double tokens_per_s) {
  if (tokens_per_s <= 0) return "-";
  return tokens_per_s < 100 ? format("{:.1f}", tokens_per_s) : format("{:.0f}", tokens_per_s);
}

std::string device_line(const PlanRequest& q, const Deployment& d) {
  const DeviceModel& v = q.device;
  std::string out = v.is_shared
                        ? format("{} ranks on this {}: {} GiB for all",
                                 q.degrees.world(),
                                 v.name,
                                 gib(v.memory_bytes))
                        : format("{} x {}: {} GiB each", v.count, v.name, gib(v.memory_bytes));
  if (v.bytes_per_s > 0) out += format(", {:.0f} GB/s", v.bytes_per_s * 1e-9);
  if (v.flops_per_s > 0) out += format(", {:.0f} TFLOP/s", v.flops_per_s * 1e-12);
  if (q.degrees.world() > 1 && v.link_bytes_per_s > 0)
    out += format(", links {:.4g} GB/s and {:.0f} us a sum",
                  v.link_bytes_per_s * 1e-9,
                  v.link_latency_s * 1e6);
  return out +
         format("; {:.0f} % may be taken: {} GiB\n", 100 * q.utilization, gib(d.budget_bytes));
}

std::string verdict(const PlanRequest& q, const Deployment& d, const std::string& remedy) {
  const EngineConfig& c = q.subjects.config;
  if (!d.fits())
    return format("does not fit: {} GiB more are needed on the fullest rank{}\n",
                  gib(d.missing_bytes),
                  remedy.empty() ? "" : "; " + remedy);
  if (d.kv_tokens >= kUnbounded) return "fits\n";
  std::string out = format("fits: room for {} tokens of KV cache:", d.kv_tokens);
  for (int64_t length = std::min(q.axes.max_positions, d.kv_tokens), shown = 0;
       length >= 256 && shown < 4;
       length /= 4, ++shown)
    out += format("{} {} x {}", shown > 0 ? "," : "", d.kv_tokens / length, length);
  return out + format(" (at most {} run at one time)\n", c.max_num_seqs);
}

// Where experts stay in the file: how many, and what that costs.
std::string experts_text(const PlanRequest& q, const Deployment& d) {
  if (d.experts_in_file() == 0) return "";
  const auto file_bytes = static_cast<int64_t>(d.file_bytes_per_token());
  std::string out = format(
      "experts: {} of {} GiB are held, the others stay in the file; a token has {} GiB read of "
      "them "
      "if choices are spread evenly",
      gib(d.experts_held()),
      gib(d.experts_held() + d.experts_in_file()),
      gib(file_bytes));
  const double rate = q.device.disk_bytes_per_s;
  return out + (rate > 0 ? format(": {:.3g} s at {:.3g} GB/s\n",
                                  static_cast<double>(file_bytes) / rate,
                                  rate * 1e-9)
                         : "; --disk-bandwidth turns that into seconds\n");
}

std::string survey_text(const std::vector<DegreeRow>& survey) {
  std::string out =
      "\nranks  fits  dealt     GiB of weights  busiest  decode/s  prefill/s  KV tokens\n";
  for (const DegreeRow& row : survey) {
    const Deployment& d = row.deployment;
    int64_t most = 0;
    for (const RankPlan& r : d.ranks) most = std::max(most, r.bytes.weights());
    out += format("{:>5}  {:<4}  {:<8}  {:>14}  {:>6.1f}%  {:>8}  {:>9}  {:>9}\n",
                  row.degree,
                  d.fits() ? "yes" : "no",
                  row.degree == 1 ? "whole"
                  : row.is_even   ? "evenly"
                                  : "unevenly",
                  gib(most),
                  100 * d.slowest_share,
                  rate(d.decode_tokens_per_s),
                  rate(d.prefill_tokens_per_s),
                  d.kv_tokens >= kUnbounded ? "any" : format("{}", d.kv_tokens));
  }
  out +=
      "busiest: what the busiest rank reads of its even share; rates: one sequence, by memory, "
      "compute and links\n";
  bool has_title = false;
  for (const DegreeRow& row : survey)
    for (const std::string& refusal : row.refusals) {
      if (!has_title) out += "\nwhat other engines' rules say\n";
      has_title = true;
      out += format("{:>5}  {}\n", row.degree, refusal);
    }
  return out;
}

Json bytes_json(const RankPlan& r, int64_t length) {
  const RankBytes& b = r.bytes;
  return {{"embedding_table", b.table},
          {"output_matrix", b.head},
          {"attention", b.attention},
          {"mlp", b.mlp},
          {"experts", b.experts},
          {"experts_in_file", b.experts_in_file},
          {"vision_tower", b.tower},
          {"norms", b.vectors},
          {"weights", b.weights()},
          {"scratch", b.scratch},
          {"encoded_pictures", b.media},
          {"logits", b.logits},
          {"kv_per_token", b.kv_per_token},
          {"kv_one_sequence", length * b.kv_per_token},
          {"total", b.fixed() + length * b.kv_per_token}};
}

Json ranks_json(const PlanRequest& q, const Deployment& d) {
  Json out = Json::array();
  for (const RankPlan& r : d.ranks)
    out.push_back({{"rank", r.rank},
                   {"stage", r.stage},
                   {"layers", r.layers},
                   {"attention_heads", r.heads},
                   {"kv_heads", r.kv_heads},
                   {"mlp_units", r.ffn},
                   {"mlp_granule", r.ffn_granule},
                   {"experts", r.experts},
                   {"expert_units", r.expert_ffn},
                   {"vocabulary_rows", r.vocab},
                   {"sums_per_token", r.meetings},
                   {"floats_summed_per_token", r.met_floats},
                   {"read_per_token", r.read_bytes},
                   {"experts_read_per_token", r.expert_read_bytes},
                   {"bytes", bytes_json(r, q.subjects.config.max_model_len)}});
  return out;
}

}  // namespace

std::string report_text(const PlanRequest& q,
                        const Deployment& d,
                        const std::vector<DegreeRow>& survey,
                        const std::string& remedy) {
  const ModelAxes& a = q.axes;
  const std::string method = q.subjects.checkpoint->quantization().method();
  std::string out = format("{}, {} layers of width {}, {}\n",
                           a.architecture,
                           a.layers,
                           a.hidden,
                           method.empty() ? "not quantized" : method);
  out += device_line(q, d) + "\n";
  const auto columns = columns_of(d);
  out += table(columns, shard_rows(q), "", "of");
  out += "\n" + table(columns, byte_rows(q), "GiB", "");
  out += "\n" + verdict(q, d, remedy) + experts_text(q, d);
  if (d.decode_tokens_per_s > 0 || d.prefill_tokens_per_s > 0)
    out += format("expected of one sequence, at best: decode {} tokens/s, prefill {} tokens/s\n",
                  rate(d.decode_tokens_per_s),
                  rate(d.prefill_tokens_per_s));
  return survey.empty() ? out : out + survey_text(survey);
}

Json report_json(const PlanRequest& q,
                 const Deployment& d,
                 const std::vector<DegreeRow>& survey,
                 const std::string& remedy) {
  Json out = {{"architecture", q.axes.architecture},
              {"quantization", q.subjects.checkpoint->quantization().method()},
              {"device", q.device.name},
              {"devices", q.device.count},
              {"tensor_parallel_size", q.degrees.tensor},
              {"pipeline_parallel_size", q.degrees.stages},
              {"budget_bytes", d.budget_bytes},
              {"max_model_len", q.subjects.config.max_model_len},
              {"fits", d.fits()},
              {"missing_bytes", d.missing_bytes},
              {"kv_tokens", d.kv_tokens},
              {"experts_held_bytes", d.experts_held()},
              {"experts_in_file_bytes", d.experts_in_file()},
              {"file_bytes_per_token", d.file_bytes_per_token()},
              {"decode_tokens_per_s", d.decode_tokens_per_s},
              {"prefill_tokens_per_s", d.prefill_tokens_per_s},
              {"ranks", ranks_json(q, d)}};
  if (!remedy.empty()) out["remedy"] = remedy;
  out["degrees"] = Json::array();
  for (const DegreeRow& row : survey)
    out["degrees"].push_back({{"degree", row.degree},
                              {"fits", row.deployment.fits()},
                              {"is_even", row.is_even},
                              {"busiest_share", row.deployment.slowest_share},
                              {"decode_tokens_per_s", row.deployment.decode_tokens_per_s},
                              {"refused_elsewhere", row.refusals}});
  return out;
}

}  // namespace quern

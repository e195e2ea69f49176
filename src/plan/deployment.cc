// SPDX-License-Identifier: Apache-2.0
#include "plan/deployment.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kChunk = 2048;  // tokens of a prefill step that rates are said for
constexpr int64_t kMin = 256;     // least tokens that are offered as a remedy
constexpr double kFloatBytes = 4;

int64_t tokens_within(int64_t free_bytes, int64_t per_token, int block) {
  if (free_bytes <= 0) return 0;
  if (per_token == 0) return std::numeric_limits<int32_t>::max();
  return free_bytes / (per_token * block) * block;
}

// A small sum costs its latency, a large one what passes the link: to all others and back.
double link_seconds(const DeviceModel& d, const RankPlan& r, int ranks, double tokens) {
  if (ranks == 1 || d.link_bytes_per_s <= 0) return 0;
  const double share = 2.0 * (ranks - 1) / ranks;
  const double bytes = static_cast<double>(r.met_floats) * kFloatBytes * tokens;
  return static_cast<double>(r.meetings) * d.link_latency_s + share * bytes / d.link_bytes_per_s;
}

// Stages run one after the other; within one, everybody waits for the slowest.
template <typename Seconds>
double seconds_of_all_stages(const Deployment& d, int tensor, Seconds seconds) {
  double sum = 0;
  for (size_t first = 0; first < d.ranks.size(); first += static_cast<size_t>(tensor)) {
    double slowest = 0;
    for (size_t r = first; r < first + static_cast<size_t>(tensor); ++r)
      slowest = std::max(slowest, seconds(d.ranks[r]));
    sum += slowest;
  }
  return sum;
}

void add_rates(const PlanRequest& q, Deployment& d) {
  const DeviceModel& device = q.device;
  const int tensor = q.degrees.tensor;
  const bool reads_file = d.experts_in_file() > 0;
  if (device.bytes_per_s > 0 && (!reads_file || device.disk_bytes_per_s > 0)) {
    double seconds = seconds_of_all_stages(d, tensor, [&](const RankPlan& r) {
      return static_cast<double>(r.read_bytes) / device.bytes_per_s +
             link_seconds(device, r, tensor, 1);
    });
    if (reads_file) seconds += d.file_bytes_per_token() / device.disk_bytes_per_s;
    d.decode_tokens_per_s = 1 / seconds;
  }
  if (device.flops_per_s > 0 && !reads_file)
    d.prefill_tokens_per_s =
        kChunk / seconds_of_all_stages(d, tensor, [&](const RankPlan& r) {
          return 2.0 * static_cast<double>(r.layer_products) * kChunk / device.flops_per_s +
                 link_seconds(device, r, tensor, kChunk);
        });
}

void add_balance(Deployment& d) {
  double busiest = 0, all = 0;
  for (const RankPlan& r : d.ranks) {
    busiest = std::max(busiest, static_cast<double>(r.read_bytes));
    all += static_cast<double>(r.read_bytes);
  }
  if (all > 0) d.slowest_share = busiest * static_cast<double>(d.ranks.size()) / all;
}

bool is_even(const Deployment& d) {
  const RankPlan& first = d.ranks.front();
  return std::ranges::all_of(d.ranks, [&](const RankPlan& r) {
    return r.heads == first.heads && r.kv_heads == first.kv_heads && r.ffn == first.ffn &&
           r.vocab == first.vocab && r.experts == first.experts && r.expert_ffn == first.expert_ffn;
  });
}

bool fits_with(PlanRequest request, int ranks, int64_t length, int seqs) {
  request.degrees.tensor = ranks;
  request.degrees.proportions.clear();
  request.subjects.config.max_model_len = length;
  request.subjects.config.max_num_seqs = seqs;
  return plan_deployment(request).fits();
}

// As serve does: experts take what one sequence leaves, and what they do not find stays in the
// file.
void leave_experts(const PlanRequest& q, int64_t budget, RankBytes& b) {
  if (!q.device.is_shared || !q.may_leave_experts) return;
  const int64_t sequence = q.subjects.config.max_model_len * b.kv_per_token;
  const int64_t room = std::max<int64_t>(budget - (b.fixed() - b.experts) - sequence, 0);
  const int64_t held = std::min({b.experts, room, q.most_expert_bytes});
  b.experts_in_file = b.experts - held;
  b.experts = held;
}

template <typename Part>
int64_t sum_over(const std::vector<RankPlan>& ranks, Part part) {
  int64_t sum = 0;
  for (const RankPlan& r : ranks) sum += part(r);
  return sum;
}

}  // namespace

int64_t Deployment::experts_held() const {
  return sum_over(ranks, [](const RankPlan& r) { return r.bytes.experts; });
}

int64_t Deployment::experts_in_file() const {
  return sum_over(ranks, [](const RankPlan& r) { return r.bytes.experts_in_file; });
}

double Deployment::file_bytes_per_token() const {
  const auto all = static_cast<double>(experts_held() + experts_in_file());
  const auto read =
      static_cast<double>(sum_over(ranks, [](const RankPlan& r) { return r.expert_read_bytes; }));
  return all > 0 ? read * static_cast<double>(experts_in_file()) / all : 0;
}

Deployment plan_deployment(const PlanRequest& q) {
  Deployment out;
  out.budget_bytes =
      static_cast<int64_t>(static_cast<double>(q.device.memory_bytes) * q.utilization);
  out.kv_tokens = std::numeric_limits<int32_t>::max();
  const int64_t wanted = q.subjects.config.max_model_len;
  int64_t weights = 0;
  for (int rank = 0; rank < q.degrees.world(); ++rank)
    weights += 1 + out.ranks.emplace_back(plan_rank(q.subjects, q.degrees, rank)).bytes.weights();
  for (RankPlan& r : out.ranks) {
    const double share = q.device.is_shared ? static_cast<double>(1 + r.bytes.weights()) /
                                                  static_cast<double>(weights)
                                            : 1.0;
    const auto budget = static_cast<int64_t>(share * static_cast<double>(out.budget_bytes));
    leave_experts(q, budget, r.bytes);
    const int64_t left = budget - r.bytes.fixed();
    out.kv_tokens = std::min(
        out.kv_tokens, tokens_within(left, r.bytes.kv_per_token, q.subjects.config.block_size));
    out.missing_bytes = std::max(out.missing_bytes, wanted * r.bytes.kv_per_token - left);
  }
  add_rates(q, out);
  add_balance(out);
  return out;
}

std::vector<std::string> peer_refusals(const ModelAxes& a, int degree) {
  std::vector<std::string> out;
  if (degree == 1) return out;
  std::string whole;
  const auto add = [&](const std::string& axis) { whole += (whole.empty() ? "" : ", ") + axis; };
  if (a.heads % degree != 0) add(format("{} attention heads", a.heads));
  if (a.kv_heads % degree != 0 && degree % a.kv_heads != 0) add(format("{} KV heads", a.kv_heads));
  if (a.ffn % degree != 0) add(format("intermediate_size {}", a.ffn));
  if (!whole.empty()) out.push_back(format("vLLM, SGLang: {}: not divisible by {}", whole, degree));
  const int64_t part = a.ffn / degree;
  if (a.ffn % degree == 0 && a.group > 0 && part % a.group != 0)
    out.push_back(
        format("vLLM: input_size_per_partition = {} is not divisible by min_thread_k = 128 "
               "({} groups and {})",
               part,
               part / a.group,
               part % a.group));
  return out;
}

std::vector<DegreeRow> survey_degrees(const PlanRequest& request, int most) {
  std::vector<DegreeRow> out;
  for (int degree = 1; degree <= most; ++degree) {
    PlanRequest q = request;
    q.degrees = {.tensor = degree, .stages = 1, .proportions = {}};
    DegreeRow& row = out.emplace_back();
    row.degree = degree;
    row.deployment = plan_deployment(q);
    row.is_even = is_even(row.deployment);
    row.refusals = peer_refusals(request.axes, degree);
  }
  return out;
}

std::string remedy(const PlanRequest& q) {
  const EngineConfig& c = q.subjects.config;
  for (int64_t length = c.max_model_len / 2; length >= kMin; length /= 2)
    if (fits_with(q, q.degrees.tensor, length, c.max_num_seqs))
      return format("--max-model-len {} would fit", length);
  for (int seqs = c.max_num_seqs / 2; seqs >= 1; seqs /= 2)
    if (fits_with(q, q.degrees.tensor, std::min(c.max_model_len, kMin), seqs))
      return format("--max-num-seqs {} and --max-model-len {} would fit",
                    seqs,
                    std::min(c.max_model_len, kMin));
  if (q.device.is_shared) return "";  // more ranks bring no more memory
  for (int ranks = q.degrees.tensor + 1; ranks <= 64; ++ranks)
    if (fits_with(q, ranks, c.max_model_len, c.max_num_seqs))
      return format("{} of these devices would hold it (-tp {})", ranks * q.degrees.stages, ranks);
  return "";
}

}  // namespace quern

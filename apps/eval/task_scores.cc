// SPDX-License-Identifier: Apache-2.0
#include "eval/task_scores.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/statistics.h"

namespace quern::eval {
namespace {

struct Metric {
  const char* name;
  bool ItemResult::*is_right;
};

std::vector<Metric> metrics_of(const Task& task) {
  if (task.is_choice)
    return {{"acc", &ItemResult::is_right}, {"acc_norm", &ItemResult::is_right_norm}};
  return {{"exact_match", &ItemResult::is_right}};
}

Json list_of(const Interval& interval) {
  return Json::array({interval.low, interval.high});
}

struct Share {
  int64_t right = 0, all = 0;

  double score() const { return static_cast<double>(right) / static_cast<double>(all); }
  Json interval() const { return list_of(wilson(right, all)); }
};

Share share_of(const TaskResults& results, const Metric& metric) {
  Share out{.right = 0, .all = static_cast<int64_t>(results.size())};
  for (const ItemResult& result : results) out.right += result.*metric.is_right ? 1 : 0;
  return out;
}

void add_reference(Json& row,
                   const Metric& metric,
                   const TaskResults& results,
                   const TaskResults& reference) {
  const Share share = share_of(reference, metric);
  PairedCounts counts;
  for (size_t i = 0; i < results.size(); ++i)
    counts.add(results[i].*metric.is_right, reference.at(i).*metric.is_right);
  const PairedDifference d = paired_difference(counts);
  row["reference_score"] = share.score();
  row["reference_interval"] = share.interval();
  row["difference"] = d.difference;
  row["difference_interval"] = list_of(d.interval);
  row["p_value"] = d.p_value;
  row["alone"] = counts.first_alone;
  row["reference_alone"] = counts.second_alone;
}

std::string percent(const Json& value) {
  return format("{:.1f}", 100 * value.get<double>());
}

std::string bounds(const Json& interval) {
  return format("[{}, {}]", percent(interval.at(0)), percent(interval.at(1)));
}

std::string line_of(const Json& row) {
  std::string out = format("{} {}: {} % {} of {} questions",
                           row.at("task").get<std::string>(),
                           row.at("metric").get<std::string>(),
                           percent(row.at("score")),
                           bounds(row.at("interval")),
                           row.at("questions").get<int64_t>());
  if (!row.contains("difference")) return out + "\n";
  return out + format("; reference {} % {}; difference {:+.1f} {} points, p = {:.3g}\n",
                      percent(row.at("reference_score")),
                      bounds(row.at("reference_interval")),
                      100 * row.at("difference").get<double>(),
                      bounds(row.at("difference_interval")),
                      row.at("p_value").get<double>());
}

}  // namespace

Json score_rows(const std::vector<Task>& tasks,
                const std::vector<TaskResults>& results,
                const std::vector<TaskResults>& reference) {
  Json rows = Json::array();
  for (size_t t = 0; t < tasks.size(); ++t)
    for (const Metric& metric : metrics_of(tasks[t])) {
      const Share share = share_of(results.at(t), metric);
      Json& row = rows.emplace_back(Json{{"task", tasks[t].name},
                                         {"file", tasks[t].path},
                                         {"metric", metric.name},
                                         {"questions", share.all},
                                         {"right", share.right},
                                         {"score", share.score()},
                                         {"interval", share.interval()}});
      if (!reference.empty()) add_reference(row, metric, results[t], reference.at(t));
    }
  return rows;
}

std::string score_text(const Json& rows) {
  std::string out;
  for (const Json& row : rows) out += line_of(row);
  return out;
}

Json answer_rows(const std::vector<Task>& tasks, const std::vector<TaskResults>& results) {
  Json rows = Json::array();
  for (size_t t = 0; t < tasks.size(); ++t)
    for (size_t i = 0; i < tasks[t].items.size(); ++i) {
      const TaskItem& item = tasks[t].items[i];
      const ItemResult& result = results.at(t).at(i);
      Json& row = rows.emplace_back(Json{{"task", tasks[t].name}, {"line", item.line}});
      if (!item.id.empty()) row["id"] = item.id;
      row["right"] = result.is_right;
      if (tasks[t].is_choice) {
        row["right_norm"] = result.is_right_norm;
        row["logprobs"] = result.logprobs;
      } else {
        row["answer"] = result.answer;
      }
    }
  return rows;
}

std::vector<TaskResults> results_of(const std::vector<Task>& tasks, const Json& answer_rows) {
  std::vector<TaskResults> out;
  size_t next = 0;
  for (const Task& task : tasks) {
    TaskResults& results = out.emplace_back();
    for (const TaskItem& item : task.items) {
      if (next >= answer_rows.size() || answer_rows[next].value("line", int64_t{0}) != item.line)
        fail(ErrorCode::data_loss, "{}: its answer is missing", task.where(item));
      const Json& row = answer_rows[next++];
      results.push_back({.is_right = row.value("right", false),
                         .is_right_norm = row.value("right_norm", false),
                         .logprobs = {},
                         .answer = row.value("answer", std::string())});
    }
  }
  return out;
}

}  // namespace quern::eval

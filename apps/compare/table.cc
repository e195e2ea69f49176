// SPDX-License-Identifier: Apache-2.0
#include "compare/table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/format.h"

namespace quern::compare {
namespace {

// How a number of a side is shown, and how two of them are held against each other.
struct Measure {
  const char* key;
  const char* name;
  double unit;
  const char* text;  // a format of one number
};

constexpr Measure kMeasures[] = {
    {"bytes", "checkpoint, MB", 1e6, "{:.1f}"},
    {"memory_bytes", "memory once loaded, MB", 1e6, "{:.0f}"},
    {"load_s", "loading, s", 1, "{:.2f}"},
    {"prefill_tok_s", "prefill, tokens/s", 1, "{:.1f}"},
    {"decode_tok_s", "decode, tokens/s", 1, "{:.2f}"},
    {"other_cores", "cores that others kept busy meanwhile", 1, "{:.2f}"},
    {"perplexity", "perplexity", 1, "{:.4f}"},
    {"bits_per_byte", "bits per byte of text", 1, "{:.4f}"},
};

std::optional<double> number_at(const Json& side, const char* key) {
  const auto found = side.find(key);
  if (found == side.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::string shown(const char* text, double value) {
  return fmt::format(fmt::runtime(text), value);
}

std::string bounds(const Json& interval, double unit, const char* text) {
  return format(" [{}, {}]",
                shown(text, interval.at(0).get<double>() / unit),
                shown(text, interval.at(1).get<double>() / unit));
}

class Rows {
 public:
  explicit Rows(const Json& comparison)
      : c_(comparison),
        a_(comparison.at("a")),
        b_(comparison.at("b")),
        a_label_(a_.at("label").get<std::string>()),
        b_label_(b_.at("label").get<std::string>()) {}

  Json all() {
    add("name", a_.at("name").get<std::string>(), b_.at("name").get<std::string>(), "");
    for (const Measure& measure : kMeasures) add_measure(measure);
    add_kinds();
    add_between();
    add_tasks();
    add_plan();
    return std::move(rows_);
  }

 private:
  void add(const std::string& name,
           const std::string& a,
           const std::string& b,
           const std::string& change) {
    if (a.empty() && b.empty() && change.empty()) return;
    rows_.push_back({{"measure", name},
                     {a_label_, a},
                     {b_label_, b},
                     {format("{} against {}", a_label_, b_label_), change}});
  }

  std::string cell(const Json& side, const Measure& m) const {
    const auto value = number_at(side, m.key);
    if (!value) return {};
    std::string out = shown(m.text, *value / m.unit);
    const auto interval = side.find(std::string(m.key) + "_interval");
    return interval == side.end() ? out : out + bounds(*interval, 1, m.text);
  }

  void add_measure(const Measure& m) {
    const auto a = number_at(a_, m.key), b = number_at(b_, m.key);
    const bool has_ratio = a && b && *b > 0 && std::string_view(m.key) != "other_cores";
    add(m.name, cell(a_, m), cell(b_, m), has_ratio ? format("{:.3f} x", *a / *b) : "");
  }

  void add_kinds() {
    static const Json none = Json::object();
    const auto kinds = [](const Json& side) -> const Json& {
      const auto found = side.find("bytes_by_kind");
      return found == side.end() ? none : *found;
    };
    Json names = kinds(a_);
    names.update(kinds(b_));
    for (const auto& [kind, unused] : names.items()) {
      const auto a = number_at(kinds(a_), kind.c_str()), b = number_at(kinds(b_), kind.c_str());
      add("  " + kind + ", MB",
          a ? format("{:.2f}", *a / 1e6) : "",
          b ? format("{:.2f}", *b / 1e6) : "",
          a && b ? format("{:.3f} x", *a / *b) : "");
    }
  }

  void add_between() {
    const Json& d = c_.at("between");
    if (d.contains("note")) add("the same text", "", "", d.at("note").get<std::string>());
    if (!d.contains("kl_divergence")) return;
    const Json percents = {100 * d.at("top1_agreement_interval").at(0).get<double>(),
                           100 * d.at("top1_agreement_interval").at(1).get<double>()};
    const auto percent = [](const Json& nats) { return 100 * std::expm1(nats.get<double>()); };
    const Json& excess = d.at("log_perplexity_difference_interval");
    add("perplexity, % more",
        "",
        "",
        format("{:+.2f} [{:+.2f}, {:+.2f}]",
               percent(d.at("log_perplexity_difference")),
               percent(excess.at(0)),
               percent(excess.at(1))));
    add("divergence, nats a token",
        "",
        "",
        format("{:.3g}", d.at("kl_divergence").get<double>()) +
            bounds(d.at("kl_divergence_interval"), 1, "{:.3g}"));
    add("the same best token, %",
        "",
        "",
        format("{:.2f}", 100 * d.at("top1_agreement").get<double>()) +
            bounds(percents, 1, "{:.2f}"));
  }

  void add_tasks() {
    const auto tasks = c_.find("tasks");
    if (tasks == c_.end()) return;
    for (const Json& row : *tasks)
      add(format("{} {}, %, of {}",
                 row.at("task").get<std::string>(),
                 row.at("metric").get<std::string>(),
                 row.at("questions").get<int64_t>()),
          share(row, "score", "interval"),
          share(row, "reference_score", "reference_interval"),
          format("{:+.1f}", 100 * row.at("difference").get<double>()) +
              bounds(row.at("difference_interval"), 0.01, "{:+.1f}") +
              format(" points, p = {:.3g}", row.at("p_value").get<double>()));
  }

  static std::string share(const Json& row, const char* score, const char* interval) {
    return format("{:.1f}", 100 * row.at(score).get<double>()) +
           bounds(row.at(interval), 0.01, "{:.1f}");
  }

  void add_plan() {
    const auto of = [](const Json& side, const auto& text) {
      const auto plan = side.find("plan");
      return plan == side.end() ? std::string() : text(*plan);
    };
    const auto add_all = [&](const std::string& name, const auto& text) {
      add(name, of(a_, text), of(b_, text), "");
    };
    add_all("plan: device", [](const Json& p) {
      return format("{} x {}", p.at("devices").get<int>(), p.at("device").get<std::string>());
    });
    add_all("plan: fits", [](const Json& p) {
      if (p.at("fits").get<bool>()) return std::string("yes");
      return format("no, {:.2f} GB short", p.at("missing_bytes").get<double>() / 1e9);
    });
    add_all("plan: room for tokens of context",
            [](const Json& p) { return format("{}", p.at("kv_tokens").get<int64_t>()); });
    add_all("plan: decode at best, tokens/s", [](const Json& p) {
      const double rate = p.at("decode_tokens_per_s").get<double>();
      return rate > 0 ? format("{:.1f}", rate) : std::string();
    });
    add_all("plan: prefill at best, tokens/s", [](const Json& p) {
      const double rate = p.at("prefill_tokens_per_s").get<double>();
      return rate > 0 ? format("{:.0f}", rate) : std::string();
    });
  }

  const Json &c_, &a_, &b_;
  const std::string a_label_, b_label_;
  Json rows_ = Json::array();
};

// "model.layers.7.mlp.down_proj": 7; -1 where there is none.
int layer_number(const std::string& name) {
  constexpr std::string_view kLayers = "layers.";
  const size_t at = name.find(kLayers);
  int number = -1;
  if (at != std::string::npos)
    std::from_chars(name.data() + at + kLayers.size(), name.data() + name.size(), number);
  return number;
}

bool is_calibrated(const Json& report) {
  return report.value("calibration_tokens", int64_t{0}) > 0;
}

}  // namespace

Json table_rows(const Json& comparison) {
  return Rows(comparison).all();
}

std::string table_text(const Json& rows) {
  std::vector<std::vector<std::string>> lines;
  if (rows.empty()) return {};
  std::vector<std::string> head;
  for (const auto& [key, value] : rows.front().items()) head.push_back(key);
  head.front().clear();
  lines.push_back(head);
  for (const Json& row : rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const auto& [key, value] : row.items()) line.push_back(value.get<std::string>());
  }
  std::vector<size_t> widths(head.size());
  for (const auto& line : lines)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  std::string out;
  for (const auto& line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) text += format("{:<{}}  ", line[i], widths[i]);
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
  return out;
}

bench::Plot layer_plot(const Json& report) {
  const char* const kind = is_calibrated(report) ? "output_error" : "weight_error";
  bench::Plot plot{.title = "error of each layer",
                   .x_label = "layer",
                   .y_label = is_calibrated(report) ? "relative squared error of outputs"
                                                    : "relative squared error of weights",
                   .series = {}};
  std::map<std::string, std::vector<std::pair<double, double>>> series;
  for (const auto& [name, layer] : report.at("layers").items())
    if (const auto error = number_at(layer, kind); error && layer_number(name) >= 0)
      series[name.substr(name.rfind('.') + 1)].emplace_back(layer_number(name), *error);
  for (auto& [name, points] : series) {
    std::sort(points.begin(), points.end());
    plot.series.push_back({.name = name, .points = std::move(points)});
  }
  return plot;
}

Json layer_rows(const Json& report) {
  Json rows = Json::array();
  for (const auto& [name, layer] : report.at("layers").items()) {
    Json row = Json::object();
    row["layer"] = name;
    row.update(layer);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace quern::compare

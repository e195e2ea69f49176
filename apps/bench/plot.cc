// SPDX-License-Identifier: Apache-2.0
#include "bench/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/format.h"

namespace quern::bench {
namespace {

constexpr double kWidth = 760, kHeight = 420;
constexpr double kLeft = 76, kRight = 190, kTop = 36, kBottom = 52;
// Each stands out from white and from black.
constexpr std::array kColours = {
    "#1b6ca8", "#d1495b", "#2e8b57", "#8a5a9e", "#c77f1b", "#808080", "#3d9493", "#a3485f"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  return out;
}

std::string short_number(double value) {
  return value != 0 && (std::abs(value) >= 1e5 || std::abs(value) < 1e-3) ? format("{:.1e}", value)
                                                                          : format("{:.4g}", value);
}

// One axis: which values lie where between 0 and 1.
struct Axis {
  double low = 0, high = 1;
  bool is_log = false;

  double place(double value) const {
    return is_log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  }
  std::vector<double> ticks() const {
    std::vector<double> out;
    if (is_log) {
      for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10)
        for (const double step : {1., 2., 5.})
          if (step * decade >= low && step * decade <= high) out.push_back(step * decade);
      return out;
    }
    const double rough = (high - low) / 5, unit = std::pow(10, std::floor(std::log10(rough)));
    const double step = unit * (rough / unit < 1.5 ? 1 : rough / unit < 3.5 ? 2 : 5);
    for (double t = std::ceil(low / step) * step; t <= high * (1 + 1e-9); t += step)
      out.push_back(t);
    return out;
  }
};

// Around all `values`; a linear axis begins at 0.
Axis axis_of(const std::vector<double>& values, bool is_log) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  Axis out{.is_log = is_log};
  out.low = is_log ? *low / 1.3 : std::min(0.0, *low);
  out.high = is_log ? *high * 1.3 : std::max(*high * 1.05, out.low + 1e-9);
  return out;
}

class Canvas {
 public:
  Canvas(Axis x, Axis y) : x_(x), y_(y) {}

  double left(double x) const { return kLeft + x_.place(x) * (kWidth - kLeft - kRight); }
  double top(double y) const {
    return kHeight - kBottom - y_.place(y) * (kHeight - kTop - kBottom);
  }

  void grid(const Plot& plot) {
    constexpr const char* kText =
        "<text x='{:.1f}' y='{:.1f}' text-anchor='{}' class='{}'>{}</text>\n";
    for (const double t : x_.ticks()) {
      line(left(t), kTop, left(t), kHeight - kBottom);
      out += format(kText, left(t), kHeight - kBottom + 16, "middle", "tick", short_number(t));
    }
    for (const double t : y_.ticks()) {
      line(kLeft, top(t), kWidth - kRight, top(t));
      out += format(kText, kLeft - 6, top(t) + 4, "end", "tick", short_number(t));
    }
    const double middle = (kLeft + kWidth - kRight) / 2;
    out += format(kText, middle, 20., "middle", "title", escaped(plot.title));
    out += format(kText, middle, kHeight - 12, "middle", "label", escaped(plot.x_label));
    out += format(
        "<text transform='translate(16 {:.1f}) rotate(-90)' text-anchor='middle' "
        "class='label'>{}</text>\n",
        kHeight / 2,
        escaped(plot.y_label));
  }

  void draw(const Series& series, size_t index) {
    const char* colour = kColours[index % kColours.size()];
    std::string path;
    for (const auto& [x, y] : series.points) {
      path += format("{:.1f},{:.1f} ", left(x), top(y));
      out += format(
          "<circle cx='{:.1f}' cy='{:.1f}' r='{}' fill='{}'><title>{}: {}, {}</title></circle>\n",
          left(x),
          top(y),
          series.is_line ? 2.5 : 4,
          colour,
          escaped(series.name),
          short_number(x),
          short_number(y));
    }
    if (series.is_line)
      out += format(
          "<polyline points='{}' fill='none' stroke='{}' stroke-width='1.6'/>\n", path, colour);
    const double y = kTop + 8 + 18 * static_cast<double>(index);
    out += format(
        "<circle cx='{:.1f}' cy='{:.1f}' r='4' fill='{}'/><text x='{:.1f}' y='{:.1f}' "
        "class='tick'>{}</text>\n",
        kWidth - kRight + 14,
        y - 4,
        colour,
        kWidth - kRight + 24,
        y,
        escaped(series.name));
  }

  std::string out;

 private:
  void line(double x0, double y0, double x1, double y1) {
    out += format(
        "<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' class='grid'/>\n", x0, y0, x1, y1);
  }

  Axis x_, y_;
};

// The points that can be drawn.
std::vector<Series> drawable(const Plot& plot) {
  std::vector<Series> out;
  for (Series series : plot.series) {
    std::erase_if(series.points, [&](const auto& p) {
      return !std::isfinite(p.first) || !std::isfinite(p.second) ||
             (plot.is_log && (p.first <= 0 || p.second <= 0));
    });
    if (!series.points.empty()) out.push_back(std::move(series));
  }
  return out;
}

std::string cell_text(const Json& value) {
  if (value.is_number_float()) return format("{:.4g}", value.get<double>());
  return escaped(value.is_string() ? value.get<std::string>() : value.dump());
}

bool is_table(const Json& value) {
  return value.is_array() && !value.empty() && value.front().is_object();
}

bool is_plain(const Json& value) {
  return !value.is_structured() || (value.is_array() && value.size() <= 16 && !is_table(value));
}

std::string fields_table(const Json& object, const std::string& prefix) {
  std::string out;
  for (const auto& [key, value] : object.items()) {
    if (value.is_object())
      out += fields_table(value, prefix + key + ".");
    else if (is_plain(value))
      out += format("<tr><th>{}</th><td>{}</td></tr>\n", escaped(prefix + key), cell_text(value));
  }
  return out;
}

// The columns are the plain fields of the first row.
std::string rows_table(const Json& rows) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : rows.front().items())
    if (is_plain(value)) keys.push_back(key);
  std::string out = "<table><tr>";
  for (const std::string& key : keys) out += "<th>" + escaped(key) + "</th>";
  out += "</tr>\n";
  for (const Json& row : rows) {
    out += "<tr>";
    for (const std::string& key : keys)
      out += "<td>" + (row.contains(key) ? cell_text(row.at(key)) : std::string()) + "</td>";
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

constexpr const char* kStyle =
    ":root{color-scheme:light dark;--page:#fff;--ink:#222;--soft:#444;--line:#ddd;--grid:#e4e4e4}"
    "@media(prefers-color-scheme:dark){:root{--page:#161616;--ink:#e4e4e4;--soft:#b8b8b8;"
    "--line:#444;--grid:#383838}}"
    "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:60em;color:var(--ink);"
    "background:var(--page)}"
    "table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums;display:block;"
    "overflow-x:auto}th,td{padding:.15em .7em;border-bottom:1px solid var(--line);text-align:left;"
    "vertical-align:top}svg{max-width:100%;height:auto;margin:1em 0}.grid{stroke:var(--grid)}"
    ".tick{font:11px sans-serif;fill:var(--soft)}.label{font:12px sans-serif;fill:var(--ink)}"
    ".title{font:bold 14px sans-serif;fill:var(--ink)}";

std::string head(const std::string& title) {
  return format(
      "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>{0}</title>"
      "<style>{1}</style></head><body>\n<h1>{0}</h1>\n",
      escaped(title),
      kStyle);
}

std::string all_tables(const Json& object) {
  std::string out;
  for (const auto& [key, value] : object.items())
    if (is_table(value)) out += "<h2>" + escaped(key) + "</h2>\n" + rows_table(value);
  return out;
}

std::string all_plots(const std::vector<Plot>& plots) {
  std::string out;
  for (const Plot& plot : plots) out += svg(plot);
  return out;
}

std::string run_table(const Json& fields) {
  return "<h2>run</h2>\n<table>" + fields_table(fields, "") + "</table>\n";
}

constexpr const char* kEnd = "</body></html>\n";

}  // namespace

std::string svg(const Plot& plot) {
  const std::vector<Series> series = drawable(plot);
  if (series.empty()) return "<p>" + escaped(plot.title) + ": nothing was measured.</p>\n";
  std::vector<double> xs, ys;
  for (const Series& s : series)
    for (const auto& [x, y] : s.points) xs.push_back(x), ys.push_back(y);
  Canvas canvas(axis_of(xs, plot.is_log), axis_of(ys, plot.is_log));
  canvas.grid(plot);
  for (size_t i = 0; i < series.size(); ++i) canvas.draw(series[i], i);
  return format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {} {}' role='img'>\n{}</svg>\n",
      kWidth,
      kHeight,
      canvas.out);
}

std::string page(const std::string& title,
                 const Json& tables,
                 const std::vector<Plot>& plots,
                 const Json& fields) {
  return head(title) + all_tables(tables) + all_plots(plots) + run_table(fields) + kEnd;
}

std::string report_page(const Json& result, const std::vector<Plot>& plots) {
  return head("quern bench " + result.value("bench", std::string())) + all_plots(plots) +
         all_tables(result) + run_table(result) + kEnd;
}

}  // namespace quern::bench

// SPDX-License-Identifier: Apache-2.0
#include "agent/trace.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agent/sensitive.h"
#include "base/error.h"
#include "base/json.h"
#include "text/jinja/html.h"

namespace quern::agent {
namespace {

using jinja::escape_html;

// Nothing but pictures of the same folder and the style below may be loaded, and no script runs.
constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<style>
body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:64rem;padding:0 1rem;color:#222;background:#fff}
nav{display:flex;gap:1rem;margin-bottom:1rem}main{display:flex;flex-wrap:wrap;gap:1.5rem}
.screen{position:relative;flex:none;width:min(20rem,100%);align-self:flex-start}.screen img{width:100%;display:block;border:1px solid #999}
.screen svg{position:absolute;inset:0;width:100%;height:100%}.words{flex:1 1 22rem;min-width:0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f4f4;padding:.6rem;margin:.2rem 0 1rem}h2{font-size:1rem;margin:0}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;text-align:left;padding:.3rem .5rem;vertical-align:top;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#262626}a{color:#8bf}}
</style>
)";

std::string step_name(int number, std::string_view ending) {
  return format("step-{:03}.{}", number, ending);
}

std::string block(std::string_view title, const std::string& text) {
  if (text.empty()) return {};
  return format("<h2>{}</h2><pre>{}</pre>\n", title, escape_html(text));
}

// The picture is stretched to thousandths both ways, and twice as high as wide on most phones: what
// is to look round is written flat.
std::string ring_at(Place p) {
  return format(
      "<ellipse cx=\"{}\" cy=\"{}\" rx=\"60\" ry=\"29\" fill=\"none\" stroke=\"red\" "
      "stroke-width=\"3\" vector-effect=\"non-scaling-stroke\"/>",
      p.x,
      p.y);
}

std::string line_between(Place from, Place to) {
  return format(
      "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"red\" stroke-width=\"3\" "
      "vector-effect=\"non-scaling-stroke\"/>",
      from.x,
      from.y,
      to.x,
      to.y);
}

// Where it was tapped, or where a swipe led to, over the picture.
std::string mark_of(const TraceStep& step) {
  if (!step.action) return {};
  const Action& a = *step.action;
  const bool is_swipe = a.kind == ActionKind::swipe;
  if (!is_swipe && !is_touch(a.kind)) return {};
  const std::string shape = is_swipe ? line_between(a.at, a.to) + ring_at(a.to) : ring_at(a.at);
  return "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\">" + shape + "</svg>";
}

std::string screen_block(const TraceStep& step) {
  if (step.png.empty()) return "<div class=\"screen\"><p>no picture</p></div>\n";
  return format(
      "<div class=\"screen\"><img src=\"{}\" alt=\"the screen before this step\">{}</div>\n",
      step_name(step.number, "png"),
      mark_of(step));
}

std::string row_of(const TraceStep& step) {
  return format(
      "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{:.1f}</td></tr>\n",
      step_name(step.number, "html"),
      step.number,
      escape_html(step.app),
      escape_html(step.words),
      escape_html(step.outcome),
      step.model_s);
}

Json record_of(const TraceStep& step) {
  return {{"step", step.number},
          {"app", step.app},
          {"thought", step.thought},
          {"action", step.words},
          {"outcome", step.outcome},
          {"answer", step.raw},
          {"model_s", step.model_s}};
}

}  // namespace

std::string step_page(const TraceStep& step, const std::string& goal, bool has_next) {
  std::string out(kHead);
  out += format("<title>Step {}</title></head><body>\n<nav>", step.number);
  if (step.number > 1)
    out += format("<a href=\"{}\" accesskey=\"p\" rel=\"prev\">← step {}</a>",
                  step_name(step.number - 1, "html"),
                  step.number - 1);
  out += "<a href=\"index.html\" accesskey=\"i\">all steps</a>";
  if (has_next)
    out += format("<a href=\"{}\" accesskey=\"n\" rel=\"next\">step {} →</a>",
                  step_name(step.number + 1, "html"),
                  step.number + 1);
  out += "</nav>\n";
  out += format("<h1>Step {}: {}</h1>\n<main>", step.number, escape_html(goal));
  out += screen_block(step) + "<div class=\"words\">";
  out += block("App", step.app) + block("Thought", step.thought) + block("Action", step.words);
  out += block("Outcome", step.outcome) + block("The answer as it came", step.raw);
  return out + "</div></main></body></html>\n";
}

Trace::Trace(std::string folder, std::string goal, std::string model)
    : folder_(std::move(folder)), goal_(std::move(goal)), model_(std::move(model)) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::exists(folder_, error)) {
    if (!fs::is_directory(folder_, error) || !fs::is_empty(folder_, error))
      fail(ErrorCode::invalid_argument, "--trace {}: is not an empty folder", folder_);
  } else if (const fs::path above = fs::path(folder_).parent_path(); !above.empty()) {
    fs::create_directories(above, error);
  }
  if (mkdir(folder_.c_str(), 0700) != 0 && errno != EEXIST)
    fail(ErrorCode::unavailable, "--trace {}: {}", folder_, std::strerror(errno));
  write_index();
}

void Trace::write(const std::string& name, const std::string& bytes) const {
  std::ofstream file(folder_ + "/" + name, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) fail(ErrorCode::exhausted, "{}/{}: cannot be written", folder_, name);
}

void Trace::add(const TraceStep& step) {
  if (!steps_.empty()) {  // the page before gets its way on
    TraceStep& before = steps_.back();
    write(step_name(before.number, "html"), step_page(before, goal_, true));
    before.png.clear();
    before.png.shrink_to_fit();
  }
  if (!step.png.empty()) write(step_name(step.number, "png"), step.png);
  write(step_name(step.number, "html"), step_page(step, goal_, false));
  steps_.push_back(step);
  write_index();
}

void Trace::end(const std::string& how) {
  end_ = how;
  write_index();
}

void Trace::write_index() const {
  std::string page(kHead), lines;
  page += format("<title>{}</title></head><body>\n<h1>{}</h1>\n<p>Model: {}</p>\n",
                 escape_html(goal_),
                 escape_html(goal_),
                 escape_html(model_));
  page +=
      "<table><tr><th>Step</th><th>App</th><th>Action</th><th>Outcome</th><th>Model, s</th></tr>\n";
  for (const TraceStep& step : steps_) {
    page += row_of(step);
    lines += json_text(record_of(step)) + "\n";
  }
  page += "</table>\n" + block("End", end_.empty() ? "still running, or cut off" : end_);
  write("steps.jsonl", lines);
  write("index.html", page + "</body></html>\n");
}

}  // namespace quern::agent

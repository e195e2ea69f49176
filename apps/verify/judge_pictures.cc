// SPDX-License-Identifier: Apache-2.0
// The image_resize case: target sizes, and pixels after resizing by both references' rules, which
// this build claims exactly.
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "media/image/image.h"
#include "media/image/resize.h"
#include "media/image/smart_resize.h"
#include "verify/judges.h"

namespace quern {
namespace {

Image open_picture(const std::string& path) {
  const std::string bytes = read_file(path);
  return decode_image(std::as_bytes(std::span(bytes)));
}

// Null: the rule refuses the size.
std::optional<ImageSize> target_size(const std::string& rule, const Json& row) {
  const ImageSize size{row.at("height").get<int64_t>(), row.at("width").get<int64_t>()};
  const PixelRange range{row.at("min_pixels").get<int64_t>(), row.at("max_pixels").get<int64_t>()};
  try {
    if (rule == "qwen2_vl") return smart_resize(size, 28, range);
    if (rule == "hunyuan_vl") return smart_resize(size, 32, range);
    return smart_resize_clip(row.value("num_frames", int64_t{2}), size, 28, range);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    return std::nullopt;
  }
}

void judge_sizes(const GoldenCase& golden, Report& report) {
  const Json rows = read_json_file(golden.file("sizes.json"));
  RowCounter counter;
  int64_t unknown = 0;
  for (const Json& row : rows) {
    const std::string rule = row.at("rule").get<std::string>();
    if (rule != "qwen2_vl" && rule != "hunyuan_vl" && rule != "glm4v") {
      ++unknown;
      continue;
    }
    const std::optional<ImageSize> size = target_size(rule, row);
    const auto out = row.find("out");
    const bool must_fail = out == row.end() || !out->is_array();
    const bool is_equal = must_fail ? !size : size && *out == Json{size->height, size->width};
    counter.compare(is_equal,
                    format("{}: got {}",
                           row.dump(),
                           size ? format("{} x {}", size->height, size->width) : "a refusal"));
  }
  counter.report_to(report, "sizes");
  if (unknown > 0)
    report.add({.field = "sizes",
                .verdict = Verdict::unsupported,
                .note = format("{} rows of other rules", unknown)});
}

std::optional<ResizeRule> rule_of(std::string_view field) {
  if (field == "torchvision_bicubic") return ResizeRule::torchvision;
  if (field == "pil_bicubic") return ResizeRule::pil;
  return std::nullopt;
}

void judge_pixels(const GoldenCase& golden, const std::string& name, Report& report) {
  const size_t dot = name.find('.');
  const std::optional<ResizeRule> rule = rule_of(std::string_view(name).substr(dot + 1));
  if (!rule) return report.add({.field = name, .note = "no model here resizes by this rule"});
  const Tensor wanted = golden.tensor(name);
  const Image made =
      resize_bicubic(open_picture(golden.file("inputs/" + name.substr(0, dot) + ".png")),
                     wanted.dim(1),
                     wanted.dim(0),
                     *rule);
  const auto values = wanted.span<uint8_t>();
  int64_t different = 0;
  int largest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const int d = std::abs(values[i] - made.rgb[i]);
    different += d != 0;
    largest = std::max(largest, d);
  }
  report.add_exact(name,
                   static_cast<int64_t>(values.size()),
                   different,
                   format("by up to {} grey levels", largest));
}

}  // namespace

void judge_image_resize(const GoldenCase& golden, Report& report) {
  judge_field(report, "sizes", [&] { judge_sizes(golden, report); });
  for (const std::string& name : golden.names())
    judge_field(report, name, [&] { judge_pixels(golden, name, report); });
}

}  // namespace quern

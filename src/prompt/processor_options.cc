// SPDX-License-Identifier: Apache-2.0
#include "prompt/processor_options.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "base/edit_distance.h"
#include "base/error.h"
#include "base/json.h"

namespace quern {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 40, kMostFrames = 1 << 20;
constexpr double kMostFps = 1000;

struct CountKey {
  std::string_view name;
  int64_t ProcessorOptions::*field;
  int64_t most;
};

constexpr CountKey kCounts[] = {
    {"min_pixels", &ProcessorOptions::min_pixels, kMostPixels},
    {"max_pixels", &ProcessorOptions::max_pixels, kMostPixels},
    {"num_frames", &ProcessorOptions::num_frames, kMostFrames},
    {"min_frames", &ProcessorOptions::min_frames, kMostFrames},
    {"max_frames", &ProcessorOptions::max_frames, kMostFrames},
};
constexpr CountKey kEdges[] = {
    {"shortest_edge", &ProcessorOptions::min_pixels, kMostPixels},
    {"longest_edge", &ProcessorOptions::max_pixels, kMostPixels},
};
constexpr std::string_view kNames[] = {"min_pixels",
                                       "max_pixels",
                                       "size",
                                       "fps",
                                       "num_frames",
                                       "min_frames",
                                       "max_frames",
                                       "shortest_edge",
                                       "longest_edge"};

[[noreturn]] void fail_unknown(std::string_view where, std::string_view key) {
  const auto near = std::min_element(
      std::begin(kNames), std::end(kNames), [&](std::string_view a, std::string_view b) {
        return edit_distance(a, key) < edit_distance(b, key);
      });
  const bool is_near = edit_distance(*near, key) <= 3;
  fail(ErrorCode::invalid_argument,
       "{}: {}: no such option{}; expected min_pixels, max_pixels, size, fps, num_frames, "
       "min_frames or max_frames",
       where,
       key,
       is_near ? format("; did you mean {}?", *near) : "");
}

// Whether `key` is one of `table`; then its value is set.
bool set_count(ProcessorOptions& out,
               std::span<const CountKey> table,
               const std::string& key,
               const Json& value,
               std::string_view where) {
  const auto row = std::find_if(
      table.begin(), table.end(), [&](const CountKey& each) { return each.name == key; });
  if (row == table.end()) return false;
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!(number >= 1 && number <= static_cast<double>(row->most)) || std::trunc(number) != number)
    fail(ErrorCode::invalid_argument,
         "{}: {}: expected a whole number from 1 to {}, got {}",
         where,
         key,
         row->most,
         json_text(value).substr(0, 64));
  int64_t& field = out.*(row->field);
  const auto count = static_cast<int64_t>(number);
  if (field != 0 && field != count)
    fail(ErrorCode::invalid_argument,
         "{}: {} {} and {}: two names of one limit; state one of them",
         where,
         key,
         count,
         field);
  field = count;
  return true;
}

void set_size(ProcessorOptions& out, const Json& size, std::string_view where) {
  if (!size.is_object())
    fail(ErrorCode::invalid_argument,
         "{}: size: expected {{\"shortest_edge\": pixels, \"longest_edge\": pixels}}",
         where);
  for (const auto& [key, value] : size.items())
    if (!value.is_null() && !set_count(out, kEdges, key, value, where))
      fail(ErrorCode::invalid_argument,
           "{}: size: {}: expected shortest_edge and longest_edge, which count the pixels of a "
           "whole picture here",
           where,
           key.substr(0, 64));
}

double fps_of(const Json& value, std::string_view where) {
  const double fps = value.is_number() ? value.get<double>() : 0;
  if (!(fps > 0 && fps <= kMostFps))
    fail(ErrorCode::invalid_argument,
         "{}: fps: expected a number above 0 and up to {}, got {}",
         where,
         kMostFps,
         json_text(value).substr(0, 64));
  return fps;
}

void check(const ProcessorOptions& options, std::string_view where) {
  const auto check_order = [&](int64_t least, int64_t most, const char* what) {
    if (most > 0 && least > most)
      fail(
          ErrorCode::invalid_argument, "{}: min_{} {} > max_{} {}", where, what, least, what, most);
  };
  check_order(options.min_pixels, options.max_pixels, "pixels");
  check_order(options.min_frames, options.max_frames, "frames");
  if (options.fps > 0 && options.num_frames > 0)
    fail(ErrorCode::invalid_argument, "{}: fps and num_frames: state one of them", where);
}

int64_t tighter(int64_t a, int64_t b) {
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

}  // namespace

ProcessorOptions ProcessorOptions::parse(const Json& json, std::string_view where) {
  if (!json.is_object())
    fail(ErrorCode::invalid_argument,
         "{}: expected an object such as {{\"max_pixels\": 1003520}}",
         where);
  ProcessorOptions out;
  for (const auto& [key, value] : json.items()) {
    if (value.is_null()) continue;
    if (key == "size")
      set_size(out, value, where);
    else if (key == "fps")
      out.fps = fps_of(value, where);
    else if (!set_count(out, kCounts, key, value, where))
      fail_unknown(where, key.substr(0, 64));
  }
  check(out, where);
  return out;
}

ProcessorOptions ProcessorOptions::narrowed_by(const ProcessorOptions& other) const {
  ProcessorOptions out = *this;
  out.min_pixels = std::max(min_pixels, other.min_pixels);
  out.max_pixels = tighter(max_pixels, other.max_pixels);
  out.min_frames = std::max(min_frames, other.min_frames);
  out.max_frames = tighter(max_frames, other.max_frames);
  if (other.fps > 0 || other.num_frames > 0) out.fps = other.fps, out.num_frames = other.num_frames;
  return out;
}

}  // namespace quern

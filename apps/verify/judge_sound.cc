// SPDX-License-Identifier: Apache-2.0
#include "verify/judge_sound.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "verify/compare.h"

namespace quern {
namespace {

// tests/golden/README.md, unless the case states another.
Bound bound_of_features(const GoldenCase& golden) {
  const Json stated = golden.expected().value("field_tolerance", Json::object());
  const Json own = stated.value("input_features", Json::object());
  return {own.value("atol", 1e-3), own.value("rtol", 1e-3)};
}

std::vector<const MediaInput*> windows_of(const Prompt& prompt) {
  std::vector<const MediaInput*> out;
  for (const MediaSpan& span : prompt.media)
    if (span.media->kind == MediaKind::audio) out.push_back(span.media.get());
  return out;
}

// The first `frames` frames of each window as the reference lays them out: [windows, bands,
// frames].
std::vector<float> turned(const std::vector<const MediaInput*>& windows, int64_t frames) {
  std::vector<float> out;
  for (const MediaInput* w : windows)
    for (int64_t band = 0; band < w->row_size; ++band)
      for (int64_t frame = 0; frame < frames; ++frame)
        out.push_back(w->values[static_cast<size_t>(frame * w->row_size + band)]);
  return out;
}

void judge_mask(const GoldenCase& golden,
                const std::string& field,
                const std::vector<const MediaInput*>& windows,
                int64_t frames,
                Report& report) {
  const std::vector<int64_t> wanted = golden.integers(field);
  int64_t different = 0;
  for (size_t w = 0; w < windows.size(); ++w)
    for (int64_t frame = 0; frame < frames; ++frame) {
      const size_t at = w * static_cast<size_t>(frames) + static_cast<size_t>(frame);
      different += at >= wanted.size() || wanted[at] != (frame < windows[w]->valid_rows);
    }
  report.add_exact(field,
                   static_cast<int64_t>(windows.size()) * frames,
                   different,
                   "another number of frames lies on sound");
}

// Silence behind what is stored: its value is.
void judge_silence(const Json& prompt,
                   const std::string& field,
                   const std::vector<const MediaInput*>& windows,
                   int64_t stored,
                   const GoldenCase& golden,
                   Report& report) {
  const Json range = prompt.value("padding_mel_value_min_max", Json::array());
  if (range.size() != 2 || windows.empty() || stored >= windows.back()->rows) return;
  const MediaInput& last = *windows.back();
  const auto rest = std::span(last.values).subspan(static_cast<size_t>(stored * last.row_size));
  const std::vector<float> got = {*std::ranges::min_element(rest), *std::ranges::max_element(rest)};
  const std::vector<float> wanted = {range[0].get<float>(), range[1].get<float>()};
  report.add(compare_values(field + ".silence", got, wanted, bound_of_features(golden)));
}

}  // namespace

void judge_features(const GoldenCase& golden,
                    const Json& prompt,
                    const Prompt& made,
                    Report& report) {
  const std::string field = prompt.at("name").get<std::string>() + ".input_features";
  if (!golden.has(field)) return;
  const Tensor wanted = golden.floats(field);
  const std::vector<const MediaInput*> windows = windows_of(made);
  if (wanted.rank() != 3 || windows.empty() || wanted.dim(1) != windows[0]->row_size ||
      wanted.dim(2) > windows[0]->rows)
    fail(ErrorCode::data_loss,
         "{}: {}, this build makes {} windows",
         field,
         wanted.shape().text(),
         windows.size());
  const int64_t frames = wanted.dim(2), made_windows = static_cast<int64_t>(windows.size());
  const bool is_last_empty = made_windows + 1 == wanted.dim(0);
  const std::vector<float> got = turned(windows, frames);
  report.add(
      compare_values(field, got, first_windows(wanted, got.size()), bound_of_features(golden)));
  judge_silence(prompt, field, windows, frames, golden, report);
  if (golden.has(field + "_mask")) judge_mask(golden, field + "_mask", windows, frames, report);
  if (is_last_empty)
    report.add({.field = field, .note = "a last window that becomes no token is not made"});
}

std::shared_ptr<const MediaInput> stored_window(const GoldenCase& golden,
                                                const std::string& name,
                                                int64_t window,
                                                const MediaInput& media) {
  const std::string field = name + ".input_features";
  const Tensor stored = golden.floats(field);
  if (stored.rank() != 3 || window >= stored.dim(0) || stored.dim(1) != media.row_size ||
      stored.dim(2) > media.rows)
    fail(ErrorCode::data_loss,
         "{}: {}, this build makes a window [{}, {}] number {}",
         field,
         stored.shape().text(),
         media.row_size,
         media.rows,
         window);
  auto out = std::make_shared<MediaInput>(media);
  const auto values = stored.select(0, window).contiguous();
  for (int64_t band = 0; band < stored.dim(1); ++band)
    for (int64_t frame = 0; frame < stored.dim(2); ++frame)
      out->values[static_cast<size_t>(frame * media.row_size + band)] =
          values.span<float>()[static_cast<size_t>(band * stored.dim(2) + frame)];
  return out;
}

std::span<const float> first_windows(const Tensor& windows, size_t count) {
  const auto all = windows.span<float>();
  const size_t one = all.size() / static_cast<size_t>(std::max<int64_t>(windows.dim(0), 1));
  return all.first(count + one == all.size() ? count : all.size());
}

}  // namespace quern

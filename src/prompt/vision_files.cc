// SPDX-License-Identifier: Apache-2.0
#include "prompt/vision_files.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

constexpr int kBicubic = 3;  // PIL's number of the filter
constexpr double kClipMean[] = {0.48145466, 0.4578275, 0.40821073};
constexpr double kClipStd[] = {0.26862954, 0.26130258, 0.27577711};

std::array<double, 3> three_numbers(const Config& config,
                                    std::string_view key,
                                    const double (&fallback)[3]) {
  std::array<double, 3> out{fallback[0], fallback[1], fallback[2]};
  if (!config.has(key)) return out;
  const Json& value = config.json().at(std::string(key));
  const bool is_list = value.is_array() && value.size() == 3;
  for (size_t i = 0; i < 3; ++i) {
    const Json& item = is_list ? value[i] : value;
    if (!item.is_number())
      fail(
          ErrorCode::data_loss, "{}: {}: expected a number or a list of three", config.path(), key);
    out[i] = item.get<double>();
  }
  return out;
}

// Newer files write size {shortest_edge, longest_edge}, older ones min_pixels and max_pixels, at
// the top or inside size.
PixelRange read_pixels(const Config& config, PixelRange range) {
  if (const auto size = config.find("size"); size && size->json().is_object()) {
    range.min_pixels =
        size->integer_or("shortest_edge", size->integer_or("min_pixels", range.min_pixels));
    range.max_pixels =
        size->integer_or("longest_edge", size->integer_or("max_pixels", range.max_pixels));
  }
  range.min_pixels = config.integer_or("min_pixels", range.min_pixels);
  range.max_pixels = config.integer_or("max_pixels", range.max_pixels);
  if (range.min_pixels < 1 || range.max_pixels < 1)
    fail(ErrorCode::data_loss,
         "{}: pixel limits {} to {}: expected positive numbers",
         config.path(),
         range.min_pixels,
         range.max_pixels);
  return range;
}

PixelScaling read_scaling(const Config& config) {
  PixelScaling scaling;
  scaling.do_rescale = config.boolean_or("do_rescale", true);
  scaling.do_normalize = config.boolean_or("do_normalize", true);
  scaling.rescale_factor = config.number_or("rescale_factor", scaling.rescale_factor);
  scaling.mean = three_numbers(config, "image_mean", kClipMean);
  scaling.std = three_numbers(config, "image_std", kClipStd);
  bool is_possible = scaling.rescale_factor > 0;
  for (double std : scaling.std) is_possible &= std > 0;
  if (!is_possible)
    fail(ErrorCode::data_loss, "{}: rescale_factor and image_std must be positive", config.path());
  return scaling;
}

std::optional<Config> find_part(const std::string& folder, const char* part, const char* file) {
  if (const std::string both = folder + "/processor_config.json"; file_exists(both)) {
    if (auto config = Config::read(both).find(part)) return config;
  }
  const std::string path = folder + "/" + file;
  if (!file_exists(path)) return std::nullopt;
  return Config::read(path);
}

}  // namespace

VisionFile read_vision_file(const Config& config, const VisionFile& defaults) {
  VisionFile file = defaults;
  file.shape.size = config.integer_or("patch_size", file.shape.size, 1, 1024);
  file.shape.temporal = config.integer_or("temporal_patch_size", file.shape.temporal, 1, 64);
  file.shape.merge = config.integer_or("merge_size", file.shape.merge, 1, 64);
  file.scaling = read_scaling(config);
  file.pixels = read_pixels(config, defaults.pixels);
  file.processor_class = config.string_or("processor_class", "");
  file.do_resize = config.boolean_or("do_resize", true);
  const int64_t filter = config.integer_or("resample", kBicubic);
  if (filter != kBicubic && !file.is_filter_ignored)
    fail(ErrorCode::unsupported,
         "{}: resample {}: only {} (bicubic) is supported",
         config.path(),
         filter,
         kBicubic);
  return file;
}

std::optional<Config> find_image_config(const std::string& folder) {
  return find_part(folder, "image_processor", "preprocessor_config.json");
}

std::optional<Config> find_video_config(const std::string& folder) {
  return find_part(folder, "video_processor", "video_preprocessor_config.json");
}

}  // namespace quern

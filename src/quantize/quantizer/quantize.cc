// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/half.h"
#include "base/log.h"
#include "quantize/quantizer/gguf_files.h"
#include "quantize/quantizer/layer_rounder.h"
#include "quantize/quantizer/source_model.h"
#include "quantize/quantizer/written_part.h"
#include "quantize/source_folder.h"
#include "quantize/staging.h"
#include "weights/stored.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

constexpr std::string_view kReportFile = "quern-quantize.json", kReportKey = "quern_layers",
                           kJoined = "model.safetensors";
// A checkpoint up to this size is one file; a larger one is a file for each layer.
constexpr int64_t kJoinedBytes = int64_t{4} << 30;
constexpr int64_t kBandElements = int64_t{1} << 22;
constexpr int64_t kTextBytes = int64_t{64} << 20;  // tokenizer, report and the like, at most

std::string part_name(size_t unit, size_t units) {
  return format("model-{:05}-of-{:05}.safetensors", unit + 1, units);
}

OutTensor owned(NamedTensor tensor, const std::string& stored_name) {
  OutTensor out{{stored_name, tensor.stored, tensor.shape, 0, 0}, {}};
  out.write = [bytes = std::move(tensor.bytes)](FileWriter& file) { file.write(bytes); };
  return out;
}

std::vector<uint16_t> as_halves(const Tensor& values, Stored stored) {
  std::vector<uint16_t> out;
  out.reserve(static_cast<size_t>(values.numel()));
  for (const float v : values.span<float>())
    out.push_back(stored == Stored::f16 ? float_to_f16(v) : float_to_bf16(v));
  return out;
}

// Weights that are codes elsewhere, as floats, in bands of rows; whole where they are padded.
OutTensor widened(const SourceModel& source, const std::string& name) {
  const std::shared_ptr<const Checkpoint> checkpoint = source.checkpoint();
  const WeightFormat& format = format_of(*checkpoint, name);
  const Shape shape = source.shape_of(name);
  const Stored stored = source.float_type();
  const std::string weight = name + ".weight";
  OutTensor out{{source.stored_name(weight), stored, shape, 0, 0}, {}};
  if (source.padding().grows(name)) {
    out.write = [=, &source](FileWriter& file) {
      const std::vector<uint16_t> halves = as_halves(source.weights(name), stored);
      file.write(std::as_bytes(std::span(halves)));
    };
    return out;
  }
  out.write = [=, &format](FileWriter& file) {
    const int64_t granule = format.granule(*checkpoint, name).rows;
    const int64_t step =
        std::max<int64_t>(1, kBandElements / std::max<int64_t>(1, shape[1]) / granule) * granule;
    for (int64_t row = 0; row < shape[0]; row += step) {
      const Tensor values = dequantize(format.read(
          *checkpoint, name, {row, std::min(shape[0], row + step)}, {0, shape[1]}, Device::cpu()));
      const std::vector<uint16_t> halves = as_halves(values, stored);
      file.write(std::as_bytes(std::span(halves)));
    }
  };
  return out;
}

// A tensor as it is stored, its rows in the published order.
OutTensor carried(const SourceModel& source, const std::string& name) {
  const std::shared_ptr<const Checkpoint> checkpoint = source.checkpoint();
  const TensorInfo& info = checkpoint->info(name);
  const SourcePadding& padding = source.padding();
  OutTensor out{{source.stored_name(name), info.stored, padding.padded(name, info.shape), 0, 0},
                {}};
  out.write = [checkpoint, name, &info, &padding](FileWriter& file) {
    if (padding.grows(name)) {
      padding.write(info, checkpoint->bytes(name), [&](std::span<const std::byte> bytes) {
        file.write(bytes);
      });
    } else if (info.row_order.empty()) {
      file.write(checkpoint->bytes(name));
    } else {
      const Tensor ordered = read_tensor(*checkpoint, name);
      file.write({ordered.raw(), static_cast<size_t>(ordered.bytes())});
    }
  };
  return out;
}

class Quantizer {
 public:
  explicit Quantizer(const QuantizeRequest& request)
      : request_(request),
        source_(request.model, request.ignored, request.padding, request.scheme.granule()) {
    config_ = source_.config();
    config_["quantization_config"] = quantization_config_of(request.scheme, source_.kept());
    rounder_ = make_layer_rounder(request_, source_);
    rounder_->expect_possible();
  }

  Json run() {
    Staging staging(request_.out, key());
    staging_ = &staging;
    try {
      write_units();
      finish();
    } catch (const Error& e) {
      // What is wrong with the source or the settings would be found again.
      if (e.code() == ErrorCode::data_loss || e.code() == ErrorCode::unsupported) staging.discard();
      throw;
    }
    staging.publish();
    return report_;
  }

 private:
  size_t units() const { return source_.units().size(); }
  std::string path_of(std::string_view name) const {
    return format("{}/{}", staging_->folder(), name);
  }
  Config config_of_out() const { return Config::parse(config_.dump(), path_of("config.json")); }

  // Everything that the bits of the result depend on.
  std::string key() const {
    Hash128 hash = source_.identity();
    for (const CalibrationSequence& s : request_.calibration) {
      hash = hash_chain(hash, std::as_bytes(std::span(s.ids)));
      for (const CalibrationSequence::Picture& p : s.pictures)
        hash = hash_chain(hash, std::as_bytes(std::span(&p.media->hash, 1)));
    }
    return format("{} {} {} {} {} {} {} {} {} {} {}",
                  request_.tool,
                  request_.scheme.name,
                  hash.hex(),
                  config_["quantization_config"].dump(),
                  source_.padding().report().dump(),
                  request_.scheme.searches_ranges,
                  request_.scheme.has_act_order,
                  request_.scheme.damping,
                  request_.scheme.smoothing,
                  request_.calibration.size(),
                  request_.scheme.needs_calibration() ? name_of(request_.machine.isa) : "");
  }

  void write_units() {
    if (staging_->is_finished(std::string(kJoined))) return;
    staging_->expect_room(source_.checkpoint()->total_bytes() / 2 + kTextBytes);
    const MonotonicClock clock;
    const int64_t begin = clock.now_us();
    size_t written = 0;
    for (size_t unit = 0; unit < units(); ++unit) {
      const std::string name = part_name(unit, units());
      if (staging_->is_finished(name)) {
        log(LogLevel::info, "{}: finished by an earlier run: kept", name);
      } else {
        write_unit(unit, name);
        staging_->set_finished(name);
        ++written;
      }
      rounder_->part_written(unit, path_of(name), config_of_out());
      const double seconds = static_cast<double>(clock.now_us() - begin) * 1e-6;
      if (request_.progress)
        request_.progress({static_cast<int64_t>(unit + 1),
                           static_cast<int64_t>(units()),
                           written == 0 ? 0
                                        : seconds / static_cast<double>(written) *
                                              static_cast<double>(units() - unit - 1)});
    }
  }

  void write_unit(size_t index, const std::string& name) {
    const SourceUnit& unit = source_.units()[index];
    std::vector<OutTensor> tensors;
    Json layers = Json::object();
    std::vector<std::pair<std::string, Hash128>> decided;
    // Tensors that the rounder changed besides (a norm that took scales in) are not carried over.
    std::set<std::string, std::less<>> replaced;
    rounder_->round(index, [&](RoundedModule module) {
      const bool is_layer = module.rounded.values.defined();
      if (is_layer) {
        decided.emplace_back(module.name, hash_of(module.rounded.values));
        layers[module.name] = module.findings;
      }
      for (NamedTensor& tensor : module.rounded.tensors) {
        if (!is_layer) replaced.insert(tensor.name);
        const std::string stored = source_.stored_name(tensor.name);
        tensors.push_back(owned(std::move(tensor), stored));
      }
    });
    for (const std::string& tensor : unit.tensors)
      if (!replaced.contains(tensor)) tensors.push_back(carried(source_, tensor));
    for (const std::string& matrix : unit.widened) tensors.push_back(widened(source_, matrix));
    write_part(
        path_of(name), tensors, {{"format", "pt"}, {std::string(kReportKey), layers.dump()}});
    expect_as_decided(name, decided);
  }

  static Hash128 hash_of(const Tensor& values) {
    return hash_bytes({values.raw(), static_cast<size_t>(values.bytes())});
  }

  // The file, read as everybody reads it, decodes to the values that were decided on.
  void expect_as_decided(const std::string& part,
                         const std::vector<std::pair<std::string, Hash128>>& decided) const {
    const std::unique_ptr<Checkpoint> written = open_part(path_of(part), config_of_out());
    for (const auto& [name, hash] : decided)
      if (hash_of(dequantize(read_matrix(*written, name))) != hash)
        fail(ErrorCode::data_loss,
             "{}: {}: decodes to other values than were written: is the disk sound?",
             part,
             name);
  }

  void finish() {
    collect_report();
    std::vector<std::string> weights = parts();
    if (staging_->is_finished(std::string(kJoined)) || total_bytes() <= kJoinedBytes) {
      join();
      weights = {std::string(kJoined)};
    } else {
      write_index();
    }
    write_file_whole(path_of(kConfigFile), config_.dump(2) + "\n");
    for (const std::string& name : source_.others())
      carry_file(source_.path() + "/" + name, path_of(name));
    if (source_.is_gguf())
      for (const auto& [name, text] : files_of_gguf(source_.path()))
        write_file_whole(path_of(name), text);
    expect_loadable();
    if (request_.before_publishing) request_.before_publishing(staging_->folder(), report_);
    write_file_whole(path_of(kReportFile), report_.dump(2) + "\n");
  }

  std::vector<std::string> parts() const {
    std::vector<std::string> out;
    for (size_t unit = 0; unit < units(); ++unit) out.push_back(part_name(unit, units()));
    return out;
  }

  int64_t total_bytes() const {
    int64_t bytes = 0;
    for (const std::string& part : parts()) bytes += staging_->finished().at(part).bytes;
    return bytes;
  }

  // From what the parts say of themselves, so that a run that goes on with others' parts has it.
  void collect_report() {
    Json layers = Json::object();
    const bool is_joined = staging_->is_finished(std::string(kJoined));
    for (const std::string& name :
         is_joined ? std::vector<std::string>{std::string(kJoined)} : parts())
      for (const auto& [key, value] : open_weight_file(staging_->folder(), name).header.metadata)
        if (key == kReportKey) layers.update(parse_json(value, name));
    int64_t tokens = 0, pictures = 0, blind = 0;
    for (const Json& layer : layers) blind += layer.contains("rounded_to_nearest") ? 1 : 0;
    for (const CalibrationSequence& s : request_.calibration) {
      tokens += static_cast<int64_t>(s.ids.size());
      pictures += static_cast<int64_t>(s.pictures.size());
    }
    report_ = {{"tool", request_.tool},
               {"source", request_.model},
               {"scheme", request_.scheme.name},
               {"source_bytes", source_.checkpoint()->total_bytes()},
               {"calibration_tokens", tokens},
               {"calibration_pictures", pictures},
               {"rounded_to_nearest", blind},
               {"quantization_config", config_["quantization_config"]},
               {"padded", source_.padding().report()},
               {"layers", std::move(layers)}};
  }

  void join() {
    if (!staging_->is_finished(std::string(kJoined))) {
      staging_->expect_room(total_bytes() + kTextBytes);
      join_parts(staging_->folder(),
                 parts(),
                 std::string(kJoined),
                 {{"format", "pt"}, {std::string(kReportKey), report_["layers"].dump()}});
      staging_->set_finished(std::string(kJoined));
    }
    for (const std::string& part : parts()) staging_->forget(part);
  }

  void write_index() {
    Json places = Json::object();
    int64_t bytes = 0;
    for (const std::string& part : parts())
      for (const SafetensorsEntry& entry :
           open_weight_file(staging_->folder(), part).header.entries) {
        places[entry.name] = part;
        bytes += stored_bytes(entry.stored, entry.shape, entry.name);
      }
    const Json index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", std::move(places)}};
    write_file_whole(path_of(kIndexFile), index.dump(2) + "\n");
  }

  // The whole folder, as any engine opens it.
  void expect_loadable() {
    const std::unique_ptr<Checkpoint> made = open_checkpoint(staging_->folder());
    report_["bytes"] = made->total_bytes();
    for (const SourceUnit& unit : source_.units()) {
      for (const std::string& name : unit.quantized) {
        if (!(format_of(*made, name).shape(*made, name) == source_.shape_of(name)))
          fail(ErrorCode::data_loss, "{}: has another shape than its source", name);
      }
      for (const std::string& name : unit.tensors) (void)made->info(name);
    }
  }

  const QuantizeRequest& request_;
  const SourceModel source_;
  Json config_, report_;
  std::unique_ptr<LayerRounder> rounder_;
  Staging* staging_ = nullptr;
};

}  // namespace

Json quantize(const QuantizeRequest& request) {
  if (request.scheme.needs_calibration() && request.calibration.empty())
    fail(ErrorCode::invalid_argument, "--scheme {}: needs a calibration text", request.scheme.name);
  return Quantizer(request).run();
}

}  // namespace quern

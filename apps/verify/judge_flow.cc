// SPDX-License-Identifier: Apache-2.0
// Speech cases of GLM-TTS's flow network: mel frames made at once, block by block and as a stream,
// with what the network computes on the way.
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "models/glm_tts/flow.h"
#include "models/glm_tts/flow_mask.h"
#include "models/glm_tts/flow_stream.h"
#include "nn/owned_ctx.h"
#include "verify/field_bound.h"
#include "verify/judges.h"

namespace quern {
namespace {

constexpr FlowBranch kBoth[] = {FlowBranch::guided, FlowBranch::free};
constexpr double kRateHz = 24000, kHop = 480, kFadeSeconds = 0.1;  // of the published routine

// What a first_* field is called by the network.
struct Activity {
  const char* field;
  const char* name;
  int layer;
};
constexpr Activity kActivities[] = {{"first_text_embed", "text_embed", 0},
                                    {"first_time_embed", "time_embed", 0},
                                    {"first_concat", "concat", 0},
                                    {"first_attn0", "attn", 0},
                                    {"first_norm_out", "norm_out", 0}};

class Recorder : public Probe {
 public:
  void record(std::string_view name, int layer, const Tensor& value) override {
    const Tensor copy = value.contiguous();
    values_[{std::string(name), layer}] = Tensor::from(copy.span<float>(), copy.shape());
  }
  // The first values of what was recorded: those of the guided branch, as far as they are stored.
  std::span<const float> first(const std::string& name, int layer, size_t count) const {
    const auto found = values_.find({name, layer});
    if (found == values_.end()) fail(ErrorCode::unsupported, "{} {} is not shown", name, layer);
    const std::span<const float> all = found->second.span<float>();
    return all.first(std::min(count, all.size()));
  }

 private:
  std::map<std::pair<std::string, int>, Tensor> values_;
};

// "_2_5_9" -> 2, 5, 9; "" of n tensors -> 1 .. n; of a name of another kind, empty.
std::optional<std::vector<size_t>> steps_of(std::string_view rest, int64_t count) {
  std::vector<size_t> out;
  if (rest.empty())
    for (int64_t i = 1; i <= count; ++i) out.push_back(static_cast<size_t>(i));
  while (!rest.empty()) {
    size_t step = 0;
    const char* end = rest.data() + rest.size();
    const auto [last, error] = std::from_chars(rest.data() + 1, end, step);
    if (rest[0] != '_' || error != std::errc() || step == 0) return std::nullopt;
    out.push_back(step);
    rest.remove_prefix(static_cast<size_t>(last - rest.data()));
  }
  return out;
}

FlowConfig config_of(const GoldenCase& golden) {
  const std::string path = golden.file("flow/config.yaml");
  return FlowConfig::from_yaml(read_file(path), path);
}

class FlowJudge {
 public:
  FlowJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden),
        mode_(mode),
        report_(report),
        owned_({.threads = mode.threads, .isa = mode.isa, .activation = mode.activation}),
        model_(Builder(open_checkpoint(golden.file("flow/flow.safetensors")), owned_.ctx()),
               config_of(golden)),
        prompt_mel_(golden.floats("prompt_mel")),
        speaker_(golden.floats("embedding")) {
    known_ = {"prompt_mel", "embedding"};
  }

  void run() {
    const Json& expected = golden_.expected();
    for (const Json& run : expected.at("runs")) judge_run(run);
    judge_masks(expected.value("masks", Json::array()));
    if (expected.contains("frames_not_twice_tokens")) judge_frames();
    if (expected.contains("stream")) judge_stream(expected.at("stream"));
    for (const std::string& name : golden_.names())
      if (!known_.contains(name)) report_.add({.field = name, .note = "unknown field"});
  }

 private:
  static std::vector<int32_t> ids(const Json& stated, const char* key) {
    return stated.at(key).get<std::vector<int32_t>>();
  }
  static std::vector<int64_t> sizes(const Json& stated) {
    return stated.get<std::vector<int64_t>>();
  }
  Ctx& ctx() { return owned_.ctx(); }
  void compare(const std::string& field, std::span<const float> got) {
    report_.add(compare_field(golden_, field, got, mode_.activation));
  }
  // Judges a stored tensor by what `values` returns.
  template <typename Values>
  void judge(const std::string& field, Values&& values) {
    known_.insert(field);
    judge_field(report_, field, [&] { compare(field, values()); });
  }
  void count(const std::string& field, const Json& run, const char* key, int64_t got) {
    if (run.contains(key))
      report_.add_exact(field + "." + key, 1, run.at(key) != got, std::to_string(got));
  }

  static std::vector<int64_t> published_frames(const Json& pattern) {
    std::vector<int64_t> out;
    for (const int64_t tokens : sizes(pattern)) out.push_back(published_block_frames(tokens));
    return out;
  }

  void judge_run(const Json& run) {
    const std::string name = run.at("name").get<std::string>();
    const std::vector<int32_t> prompt = ids(run, "prompt_tokens"), tokens = ids(run, "tokens");
    const Tensor noise = golden_.floats(name + ".noise");
    known_.insert(name + ".noise");
    std::vector<int64_t> blocks;
    if (run.value("is_causal", false)) blocks = published_frames(run.at("block_pattern"));
    const FlowOptions options{.steps = golden_.expected().value("euler_steps", int64_t{10}),
                              .guidance = golden_.expected().value("cfg_rate", 0.7f),
                              .noise = noise.span<float>(),
                              .blocks = blocks};
    const FlowInput input{prompt, tokens, prompt_mel_.span<float>(), speaker_.span<float>()};
    Recorder recorder;
    judge_field(report_, name + ".mel", [&] {
      const FlowConditions c = model_.conditions(ctx(), input, options, kBoth, &recorder);
      std::vector<Tensor> before;
      const Tensor x = model_.integrate(
          ctx(), model_.start(options, c.frames), c, options.guidance, [&](int64_t, Tensor& now) {
            before.push_back(Tensor::from(now.span<float>(), now.shape()));
          });
      const int64_t cut = std::min(prompt_mel_.dim(0), x.dim(0));
      judge(name + ".mel", [&] { return x.slice(0, cut, x.dim(0)).span<float>(); });
      count(name, run, "total_frames", c.frames);
      count(name, run, "mel_frames", x.dim(0) - cut);
      judge_steps(name, "x_steps", 1, before);
      judge_first_call(name, c, before.at(0), recorder);
    });
  }

  // Tensors [n, T, bands] of x behind (`later` 1) or before (0) the steps that the field names.
  void judge_steps(const std::string& run,
                   const std::string& stem,
                   size_t later,
                   const std::vector<Tensor>& before) {
    const std::string start = run + "." + stem;
    for (const std::string& field : golden_.names()) {
      if (!field.starts_with(start)) continue;
      const auto steps = steps_of(std::string_view(field).substr(start.size()),
                                  golden_.tensor(field).dim(0));
      if (!steps) continue;
      judge(field, [&] {
        got_.clear();
        for (const size_t step : *steps) {
          if (step - 1 + later >= before.size())
            fail(ErrorCode::data_loss, "{}: there is no x of step {}", field, step);
          const auto x = before[step - 1 + later].span<float>();
          got_.insert(got_.end(), x.begin(), x.end());
        }
        return std::span<const float>(got_);
      });
    }
  }

  void judge_first_call(const std::string& run,
                        const FlowConditions& c,
                        const Tensor& x,
                        Recorder& recorder) {
    const std::string times = run + ".times";
    if (golden_.has(times)) judge(times, [&] { return std::span<const float>(c.times.at); });
    if (c.frames == 0) return;
    const Tensor v = model_.velocity(ctx(), x, c, 0, &recorder);
    const auto half = [&](int64_t i) {
      return v.slice(0, i * c.frames, (i + 1) * c.frames).span<float>();
    };
    if (golden_.has(run + ".v_cond_first")) judge(run + ".v_cond_first", [&] { return half(0); });
    if (golden_.has(run + ".v_uncond_first"))
      judge(run + ".v_uncond_first", [&] { return half(1); });
    const auto judge_activity = [&](const std::string& field, const Activity& a) {
      if (golden_.has(field))
        judge(field, [&] {
          return recorder.first(a.name, a.layer, golden_.floats(field).span<float>().size());
        });
    };
    for (const Activity& a : kActivities) judge_activity(run + "." + a.field, a);
    for (int layer = 0; layer < model_.sizes().depth; ++layer)
      judge_activity(run + ".first_block" + std::to_string(layer), {"", "block", layer});
  }

  void judge_masks(const Json& masks) {
    for (size_t i = 0; i < masks.size(); ++i) {
      const Json& mask = masks[i];
      const std::string field = "masks." + std::to_string(i);
      judge_field(report_, field, [&] {
        const std::vector<int64_t> frames = published_frames(mask.at("block_pattern"));
        report_.add_exact(field + ".frames_per_block",
                          static_cast<int64_t>(frames.size()),
                          frames != sizes(mask.at("frames_per_block")),
                          Json(frames).dump());
        const auto rows = mask.at("visible_frames_of_row").get<std::vector<int32_t>>();
        const auto got = visible_frames(frames, mask.at("length").get<int64_t>());
        int64_t different = got.size() != rows.size();
        for (size_t row = 0; row < std::min(got.size(), rows.size()); ++row)
          different += got[row] != rows[row];
        report_.add_exact(field + ".visible_frames_of_row",
                          static_cast<int64_t>(rows.size()),
                          different,
                          Json(got).dump());
      });
    }
  }

  // All counts of tokens up to the last one that is listed.
  void judge_frames() {
    judge_field(report_, "frames_not_twice_tokens", [&] {
      const auto listed = sizes(golden_.expected().at("frames_not_twice_tokens"));
      const std::set<int64_t> known(listed.begin(), listed.end());
      const int64_t last = known.empty() ? 0 : std::min<int64_t>(*known.rbegin(), 1'000'000);
      RowCounter rows;
      for (int64_t tokens = 0; tokens <= last; ++tokens)
        rows.compare((model_.config().frames(tokens) != 2 * tokens) == known.contains(tokens),
                     format("{} tokens, {} frames", tokens, model_.config().frames(tokens)));
      rows.report_to(report_, "frames_not_twice_tokens");
    });
  }

  void judge_stream(const Json& stream) {
    const std::vector<int64_t> chunks = sizes(stream.at("block_sizes")),
                               ahead = sizes(stream.at("look_future_sizes"));
    const std::vector<int32_t> prompt = ids(stream, "prompt_tokens"), tokens = ids(stream, "tokens");
    const FlowInput input{prompt, {}, prompt_mel_.span<float>(), speaker_.span<float>()};
    const FlowOptions options{.steps = golden_.expected().value("euler_steps", int64_t{10}),
                              .guidance = golden_.expected().value("cfg_rate", 0.7f)};
    FlowStream made(model_, input, FlowStreamRule::published(chunks, ahead), options);
    WaveSeam seam(kRateHz, kFadeSeconds);
    std::vector<double> seconds;
    size_t at = 0;
    judge_field(report_, "stream", [&] {
      for (const Json& chunk : stream.at("chunks")) {
        const size_t end = std::min(tokens.size(), at + static_cast<size_t>(made.wanted()));
        const int64_t frames =
            judge_chunk(chunk, made, std::span(tokens).subspan(at, end - at), chunks);
        at = end;
        count(chunk.at("name").get<std::string>(),
              chunk,
              "generated_tokens_so_far",
              static_cast<int64_t>(at));
        const std::vector<float> wave(static_cast<size_t>(frames) * static_cast<size_t>(kHop));
        const auto piece = seam.take(wave, made.look_ahead_seconds(), at == tokens.size());
        seconds.push_back(static_cast<double>(piece.size()) / kRateHz);
      }
      report_.add_exact("stream.tokens", 1, at != tokens.size(), std::to_string(at));
      if (stream.contains("wav_pieces_seconds"))
        report_.add_exact("stream.wav_pieces_seconds",
                          static_cast<int64_t>(seconds.size()),
                          stream.at("wav_pieces_seconds") != Json(seconds),
                          Json(seconds).dump());
    });
  }

  // -> mel frames
  int64_t judge_chunk(const Json& chunk,
                      FlowStream& stream,
                      std::span<const int32_t> tokens,
                      std::vector<int64_t> sizes_of_blocks) {
    const std::string name = chunk.at("name").get<std::string>();
    const Tensor noise = golden_.floats(name + ".noise");
    known_.insert(name + ".noise");
    const FlowChunk made = stream.take(ctx(), tokens, noise.span<float>());
    judge(name + ".mel", [&] { return made.mel.span<float>(); });
    judge_steps(name, "x_before_step", 0, stream.before_steps());
    count(name, chunk, "mel_frames", made.mel.dim(0));
    const char* held = "overwritten_frames_from_previous_chunk";
    if (chunk.contains(held)) {
      const Json expected = chunk.at(held).is_null() ? Json(0) : chunk.at(held);
      report_.add_exact(name + "." + held, 1, expected != made.held, std::to_string(made.held));
    }
    sizes_of_blocks.insert(sizes_of_blocks.begin(), 1);
    if (chunk.contains("block_pattern"))
      report_.add_exact(name + ".block_pattern",
                        1,
                        chunk.at("block_pattern") != Json(sizes_of_blocks),
                        Json(sizes_of_blocks).dump());
    return made.mel.dim(0);
  }

  const GoldenCase& golden_;
  const VerifyMode& mode_;
  Report& report_;
  OwnedCtx owned_;
  FlowModel model_;
  Tensor prompt_mel_, speaker_;
  std::vector<float> got_;
  std::set<std::string> known_;
};

}  // namespace

void judge_flow(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  FlowJudge(golden, mode, report).run();
}

}  // namespace quern

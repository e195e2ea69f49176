// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/flow_stream.h"

#include <algorithm>

#include "base/error.h"
#include "models/glm_tts/flow_mask.h"

namespace quern {
namespace {

// The published routine reckons in samples of its vocoder.
constexpr double kRateHz = 24000, kHop = 480;

void check(const FlowStreamRule& rule) {
  const auto is_usable = [](const std::vector<int64_t>& list, int64_t least) {
    return !list.empty() && std::ranges::all_of(list, [&](int64_t n) { return n >= least; });
  };
  if (!is_usable(rule.chunks, 1) || !is_usable(rule.look_ahead, 0) || !is_usable(rule.blocks, 0))
    fail(ErrorCode::invalid_argument,
         "a stream of {} chunk sizes, {} look-aheads and {} blocks: expected lists of sizes",
         rule.chunks.size(),
         rule.look_ahead.size(),
         rule.blocks.size());
}

// The first rows of x become those of `from`.
void take_rows(Tensor& x, const Tensor& from, int64_t rows) {
  const int64_t count = std::min({rows, x.dim(0), from.dim(0)});
  if (count > 0) std::copy_n(from.data<float>(), count * x.dim(1), x.data<float>());
}

}  // namespace

FlowStreamRule FlowStreamRule::own(const FlowConfig& config,
                                   int64_t prompt_frames,
                                   std::span<const int64_t> chunks,
                                   std::span<const int64_t> look_ahead) {
  FlowStreamRule rule;
  rule.chunks.assign(chunks.begin(), chunks.end());
  rule.look_ahead.assign(look_ahead.begin(), look_ahead.end());
  rule.blocks.push_back(prompt_frames);
  for (const int64_t tokens : chunks) rule.blocks.push_back(config.frames(tokens));
  return rule;
}

FlowStreamRule FlowStreamRule::published(std::span<const int64_t> chunks,
                                         std::span<const int64_t> look_ahead) {
  FlowStreamRule rule;
  rule.chunks.assign(chunks.begin(), chunks.end());
  rule.look_ahead.assign(look_ahead.begin(), look_ahead.end());
  rule.blocks.push_back(published_block_frames(1));
  for (const int64_t tokens : chunks) rule.blocks.push_back(published_block_frames(tokens));
  rule.is_published = true;
  return rule;
}

FlowStream::FlowStream(const FlowModel& model,
                       const FlowInput& input,
                       FlowStreamRule rule,
                       const FlowOptions& options)
    : model_(model),
      rule_(std::move(rule)),
      options_(options),
      prompt_tokens_(input.prompt_tokens.begin(), input.prompt_tokens.end()),
      prompt_mel_(input.prompt_mel.begin(), input.prompt_mel.end()),
      speaker_(input.speaker.begin(), input.speaker.end()) {
  check(rule_);
}

FlowInput FlowStream::input() const {
  return {prompt_tokens_, tokens_, prompt_mel_, speaker_};
}

double FlowStream::look_ahead_seconds() const {
  return static_cast<double>(entry(rule_.look_ahead, std::max<int64_t>(chunks_ - 1, 0))) /
         model_.config().token_rate_hz;
}

// Of all T frames, when `frames` of them follow the prompt.
int64_t FlowStream::held_of(int64_t frames, int64_t chunk) const {
  const int64_t ahead = entry(rule_.look_ahead, chunk);
  const int64_t prompt = static_cast<int64_t>(prompt_mel_.size()) / model_.sizes().bands;
  if (!rule_.is_published)
    return prompt + std::max<int64_t>(0, frames - model_.config().frames(ahead));
  const double seconds = static_cast<double>(frames) * kHop / kRateHz -
                         static_cast<double>(ahead) / model_.config().token_rate_hz;
  return std::max<int64_t>(0, 2 + static_cast<int64_t>(seconds * kRateHz / kHop));
}

FlowChunk FlowStream::take(Ctx& ctx,
                           std::span<const int32_t> tokens,
                           std::span<const float> noise) {
  constexpr FlowBranch kBranches[] = {FlowBranch::guided, FlowBranch::free};
  const size_t known = tokens_.size();
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  FlowChunk out;
  std::vector<Tensor> before;
  Tensor x;
  try {
    FlowOptions options = options_;
    options.noise = noise;
    options.blocks = rule_.blocks;
    const FlowConditions c = model_.conditions(ctx, input(), options, kBranches);
    x = model_.integrate(ctx,
                         model_.start(options, c.frames),
                         c,
                         options.guidance,
                         [&](int64_t step, Tensor& now) {
                           if (!before_.empty())
                             take_rows(now, before_[static_cast<size_t>(step)], held_);
                           before.push_back(Tensor::from(now.span<float>(), now.shape()));
                         });
  } catch (...) {
    tokens_.resize(known);
    throw;
  }
  if (made_.defined() && !rule_.is_published) take_rows(x, made_, held_);
  const int64_t prompt = std::min(
      static_cast<int64_t>(prompt_mel_.size()) / model_.sizes().bands, x.dim(0));
  out.held = made_.defined() ? std::min(held_, made_.dim(0)) : 0;
  out.mel = x.slice(0, prompt, x.dim(0));
  held_ = held_of(out.mel.dim(0), chunks_);
  out.settled = std::clamp<int64_t>(held_ - prompt, 0, out.mel.dim(0));
  before_ = std::move(before);
  made_ = x;
  ++chunks_;
  return out;
}

std::vector<float> WaveSeam::take(std::span<const float> wave,
                                  double look_ahead_seconds,
                                  bool is_last) {
  const auto samples = [&](double seconds) {
    return static_cast<size_t>(std::max(0.0, rate_hz_ * seconds));
  };
  const size_t ahead = samples(look_ahead_seconds),
               overlap = samples(look_ahead_seconds + fade_seconds_);
  std::vector<float> rest(wave.begin() + static_cast<ptrdiff_t>(std::min(given_, wave.size())),
                          wave.end());
  const size_t fade = std::min(fading_.size(), rest.size());
  for (size_t i = 0; i < fade; ++i) {
    const double in =
        fade > 1 ? static_cast<double>(i) / static_cast<double>(fade - 1) : 0.0;
    rest[i] = static_cast<float>(fading_[i] * (1 - in) + rest[i] * in);
  }
  const auto from_end = [&](size_t count) {
    return rest.begin() + static_cast<ptrdiff_t>(rest.size() - std::min(count, rest.size()));
  };
  if (is_last) {
    fading_.clear();
    given_ += rest.size();
    return rest;
  }
  fading_.assign(from_end(overlap), from_end(ahead));
  rest.erase(from_end(overlap), rest.end());
  given_ += rest.size();
  return rest;
}

}  // namespace quern

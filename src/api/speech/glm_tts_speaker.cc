// SPDX-License-Identifier: Apache-2.0
#include "api/speech/glm_tts_speaker.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "api/api_error.h"
#include "base/error.h"
#include "base/file.h"
#include "models/glm_tts/flow_stream.h"
#include "text/spoken/pieces.h"
#include "text/spoken/spoken_text.h"
#include "weights/hub_cache.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostTranscriptBytes = 4096, kMostRecordingBytes = size_t{32} << 20;
constexpr double kFadeSeconds = 0.1;  // between blocks, as the published routine fades

struct GlmTtsVoice final : Voice {
  GlmTtsVoice(SaidPiece piece, VoicePrint voice_print)
      : said_piece(std::move(piece)), print(std::move(voice_print)) {}
  const SaidPiece& said() const override { return said_piece; }

  SaidPiece said_piece;
  VoicePrint print;
};

bool is_recording(const fs::path& path) {
  for (const char* ending : {".wav", ".flac", ".ogg", ".mp3"})
    if (path.extension() == ending) return true;
  return false;
}

std::string joined(const std::vector<std::string>& names) {
  return names.empty() ? "none" : format("{}", fmt::join(names, ", "));
}

// More than marks and spaces.
bool says_anything(std::string_view text) {
  constexpr std::string_view kMarks[] = {"。", "？", "！", "；", "：", "、", "，"};
  for (size_t at = 0; at < text.size();) {
    const auto mark = std::ranges::find_if(
        kMarks, [&](std::string_view each) { return text.substr(at).starts_with(each); });
    const auto byte = static_cast<unsigned char>(text[at]);
    if (mark == std::end(kMarks) && (byte >= 0x80 || std::isalnum(byte))) return true;
    at += mark == std::end(kMarks) ? 1 : mark->size();
  }
  return false;
}

std::string without_end(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

// What is wrong with it is the request's fault.
ReferenceSound sound_of(const std::string& recording, MediaDecoder& decoder) {
  try {
    return reference_sound(decoder, std::as_bytes(std::span(recording)), kVocoderRateHz);
  } catch (const Error& error) {
    const bool is_too_long = error.code() == ErrorCode::exhausted;
    const bool is_damaged = error.code() == ErrorCode::data_loss;
    throw RequestError(is_too_long || is_damaged ? ErrorCode::invalid_argument : error.code(),
                       "ref_audio",
                       format("the voice's recording: {}", error.what()),
                       is_too_long ? "too_large" : "");
  }
}

// What listens may be missing from a folder that speaks.
std::unique_ptr<ListeningNetworks> open_ears(const std::string& folder, const Ctx& ctx) {
  try {
    return std::make_unique<ListeningNetworks>(folder, ctx);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
    throw RequestError(ErrorCode::unsupported,
                       "ref_audio",
                       format("this server cannot listen to a voice: {}", error.what()),
                       "unsupported");
  }
}

}  // namespace

struct GlmTtsComputing {
  GlmTtsComputing(const std::string& folder, const OwnedCtx::Options& options)
      : owned(options), networks(folder, owned.ctx()) {}

  std::mutex busy;  // held by who computes
  OwnedCtx owned;
  SpeakingNetworks networks;
};

namespace {

// Made as a whole once all tokens are there, as the reference makes it.
class WholeRender final : public SpeechRender {
 public:
  WholeRender(std::shared_ptr<GlmTtsComputing> computing,
              std::shared_ptr<const GlmTtsVoice> voice,
              uint64_t seed)
      : computing_(std::move(computing)), voice_(std::move(voice)), seed_(seed) {}

  size_t wanted() const override { return SIZE_MAX; }
  std::vector<float> add(std::span<const int32_t> tokens, bool is_last) override {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    if (!is_last || tokens_.empty()) return {};
    const std::lock_guard lock(computing_->busy);
    Ctx& ctx = computing_->owned.ctx();
    const SpeakingNetworks& networks = computing_->networks;
    const Tensor mel =
        networks.flow.sample(ctx, networks.input(voice_->print, tokens_), {.seed = seed_});
    if (mel.dim(0) == 0) return {};
    return networks.vocoder(ctx, mel, {.seed = seed_}).wave;
  }

 private:
  std::shared_ptr<GlmTtsComputing> computing_;
  std::shared_ptr<const GlmTtsVoice> voice_;
  uint64_t seed_;
  std::vector<int32_t> tokens_;
};

// Made again from its beginning for each block of tokens; what is heard of it are the new samples.
class BlockRender final : public SpeechRender {
 public:
  BlockRender(std::shared_ptr<GlmTtsComputing> computing,
              std::shared_ptr<const GlmTtsVoice> voice,
              uint64_t seed)
      : computing_(std::move(computing)),
        voice_(std::move(voice)),
        seed_(seed),
        stream_(computing_->networks.flow,
                computing_->networks.input(voice_->print, {}),
                rule(),
                {.seed = seed}),
        seam_(kVocoderRateHz, kFadeSeconds) {}

  size_t wanted() const override { return static_cast<size_t>(stream_.wanted()); }
  std::vector<float> add(std::span<const int32_t> tokens, bool is_last) override {
    const std::lock_guard lock(computing_->busy);
    Ctx& ctx = computing_->owned.ctx();
    if (!tokens.empty()) {
      const FlowChunk chunk = stream_.take(ctx, tokens);
      if (chunk.mel.dim(0) > 0)
        sound_ = computing_->networks.vocoder(
            ctx, chunk.mel, {.seed = seed_, .source_start = settled_source()});
      settled_ = chunk.settled;
    }
    return seam_.take(sound_.wave, is_last ? 0 : stream_.look_ahead_seconds(), is_last);
  }

 private:
  FlowStreamRule rule() const {
    const FlowModel& flow = computing_->networks.flow;
    return FlowStreamRule::own(flow.config(),
                               std::ssize(voice_->print.mel) / flow.sizes().bands);
  }
  // The phases of the frames that stay go on where they were.
  std::span<const float> settled_source() const {
    const auto samples = static_cast<size_t>(settled_ * HiftVocoder::kSamplesPerFrame);
    return std::span(sound_.source).first(std::min(samples, sound_.source.size()));
  }

  std::shared_ptr<GlmTtsComputing> computing_;
  std::shared_ptr<const GlmTtsVoice> voice_;
  uint64_t seed_;
  FlowStream stream_;
  WaveSeam seam_;
  VocoderSound sound_;   // of all tokens so far
  int64_t settled_ = 0;  // of its mel frames
};

}  // namespace

GlmTtsSpeaker::GlmTtsSpeaker(const GlmTtsOptions& options, const Tokenizer& tokenizer)
    : tokens_(GlmTtsTokens::read(tokenizer)),
      tokenizer_(tokenizer),
      options_(options),
      computing_(std::make_shared<GlmTtsComputing>(options.folder, options.computing)) {
  if (options.voices.empty()) return;
  if (!is_directory(options.voices))
    fail(ErrorCode::not_found, "--voices {}: no such folder", options.voices);
  for (const std::string& name : entries_of(options.voices)) {
    const fs::path recording = fs::path(options.voices) / name;
    if (!is_recording(recording)) continue;
    fs::path text = recording;
    text.replace_extension(".txt");
    if (!file_exists(text.string()))
      fail(ErrorCode::not_found,
           "{}: expected {} beside it, with what is said in the recording, word for word",
           recording.string(),
           text.filename().string());
    voices_[recording.stem().string()] = {recording.string(), text.string(), nullptr};
  }
}

GlmTtsSpeaker::~GlmTtsSpeaker() = default;

std::vector<std::vector<int32_t>> GlmTtsSpeaker::read(const std::string& text) const {
  std::vector<std::vector<int32_t>> out;
  const std::string whole = spoken_text(text);
  if (!says_anything(whole)) fail_field("input", "input: nothing in it can be said");
  // Read once more by itself, a piece gets an ending of its own.
  for (const std::string& piece : split_spoken(whole))
    out.push_back(tokenizer_.encode(spoken_text(piece),
                                    {.add_special_tokens = false, .parse_special = false}));
  return out;
}

std::vector<std::string> GlmTtsSpeaker::voice_names() const {
  std::vector<std::string> out;
  for (const auto& [name, known] : voices_) out.push_back(name);
  return out;
}

std::shared_ptr<const Voice> GlmTtsSpeaker::voice(const std::string& name) {
  const auto found = name.empty() && voices_.size() == 1 ? voices_.begin() : voices_.find(name);
  if (found == voices_.end())
    throw RequestError(
        name.empty() ? ErrorCode::invalid_argument : ErrorCode::not_found,
        "voice",
        format("voice: {}; this server has: {} (--voices), and ref_audio with ref_text brings one",
               name.empty() ? "missing" : format("no voice is called {}", name.substr(0, 64)),
               joined(voice_names())));
  {
    const std::lock_guard lock(listening_);
    if (found->second.voice) return found->second.voice;
  }
  auto made = listen(read_file(found->second.recording, kMostRecordingBytes),
                     without_end(read_file(found->second.text, kMostTranscriptBytes)));
  const std::lock_guard lock(listening_);
  return found->second.voice = std::move(made);
}

std::shared_ptr<const Voice> GlmTtsSpeaker::listen(const std::string& recording,
                                                   const std::string& transcript) {
  const ReferenceSound sound = sound_of(recording, *options_.decoder);
  SaidPiece said;
  // The reference sets one space between what was said and what is to be said.
  said.text = tokenizer_.encode(spoken_text(transcript) + " ",
                                {.add_special_tokens = false, .parse_special = false});
  const std::lock_guard lock(listening_);
  const std::lock_guard computing(computing_->busy);
  Ctx& ctx = computing_->owned.ctx();
  if (!ears_) ears_ = open_ears(options_.folder, ctx);
  try {
    VoicePrint print = (*ears_)(ctx, sound);
    said.speech = print.tokens;
    return std::make_shared<GlmTtsVoice>(std::move(said), std::move(print));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    fail_field("ref_audio", "the voice's recording: {}", error.what());
  }
}

std::unique_ptr<SpeechRender> GlmTtsSpeaker::render(std::shared_ptr<const Voice> voice,
                                                    const RenderOptions& options) {
  auto own = std::dynamic_pointer_cast<const GlmTtsVoice>(std::move(voice));
  QUERN_CHECK(own != nullptr);
  if (options.in_blocks)
    return std::make_unique<BlockRender>(computing_, std::move(own), options.seed);
  return std::make_unique<WholeRender>(computing_, std::move(own), options.seed);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// For tests: a speaker without networks beside a ScriptedService. Speech token b is byte b, and
// becomes 100 samples of value b / 256.
#pragma once

#include "api/api_error.h"
#include "api/scripted_service.h"
#include "api/speech/speaker.h"

namespace quern {

class ScriptedSpeaker final : public Speaker {
 public:
  const GlmTtsTokens& tokens() const override { return tokens_; }
  int64_t rate_hz() const override { return 24'000; }
  // Pieces end at a '|'; the tokens of the text are its bytes.
  std::vector<std::vector<int32_t>> read(const std::string& text) const override {
    std::vector<std::vector<int32_t>> out(1);
    for (const char c : text)
      if (c == '|')
        out.emplace_back();
      else
        out.back().push_back(static_cast<unsigned char>(c));
    return out;
  }
  std::vector<std::string> voice_names() const override { return {"anna"}; }
  std::shared_ptr<const Voice> voice(const std::string& name) override {
    if (name != "anna" && !name.empty())
      throw RequestError(ErrorCode::not_found, "voice", "voice: this server has anna");
    return std::make_shared<SaidVoice>(SaidPiece{{'h', 'i'}, {1, 2}});
  }
  std::shared_ptr<const Voice> listen(const std::string& recording,
                                      const std::string& transcript) override {
    return std::make_shared<SaidVoice>(
        SaidPiece{std::vector<int32_t>(transcript.begin(), transcript.end()),
                  std::vector<int32_t>(recording.begin(), recording.end())});
  }
  std::unique_ptr<SpeechRender> render(std::shared_ptr<const Voice>,
                                       const RenderOptions&) override {
    return std::make_unique<Steps>();
  }

 private:
  struct SaidVoice final : Voice {
    explicit SaidVoice(SaidPiece piece) : said_(std::move(piece)) {}
    const SaidPiece& said() const override { return said_; }
    SaidPiece said_;
  };
  struct Steps final : SpeechRender {
    size_t wanted() const override { return 2; }
    std::vector<float> add(std::span<const int32_t> tokens, bool) override {
      std::vector<float> out;
      for (const int32_t token : tokens)
        out.insert(out.end(), 100, static_cast<float>(token) / 256);
      return out;
    }
  };

  GlmTtsTokens tokens_{.begin = 255, .end = kScriptedEos, .first = 0, .count = 255};
};

}  // namespace quern

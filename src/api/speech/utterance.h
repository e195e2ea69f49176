// SPDX-License-Identifier: Apache-2.0
// Utterance: one text on its way to sound. The engine that answers everything else says it token by
// token, a piece of text after the other; a SpeechRender makes sound of the tokens beside it.
//
//   poll (the connection's thread)   work (any thread that has time)
//   tokens of piece 2 …              sound of piece 1
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/service.h"
#include "api/speech/speaker.h"
#include "api/speech/speech_request.h"

namespace quern {

struct SpeechUsage {
  int64_t input_tokens = 0;   // of the text
  int64_t output_tokens = 0;  // of sound
  int64_t cut_pieces = 0;     // that had not ended when they had all the tokens that they may
};

class Utterance {
 public:
  // Slow: reads the text, and listens to a voice that comes with the request. `service` must speak
  // and outlive this; `id` names the request in logs and must be unique among those running;
  // `notify` is called from the engine's thread whenever poll may have news; `seed` holds where the
  // request has none. Throws RequestError.
  Utterance(Service& service,
            std::string id,
            const SpeechRequest& request,
            uint64_t seed,
            std::function<void()> notify);
  ~Utterance();  // cancels what still runs
  Utterance(const Utterance&) = delete;
  Utterance& operator=(const Utterance&) = delete;

  // Takes the tokens that have come and submits the next piece; does not wait. Throws RequestError
  // for a request that failed, and what Service::submit throws.
  void poll();
  // Tokens wait to become sound: work() would make some.
  bool has_work() const;
  // Slow. The next samples; not at the same time as poll().
  std::vector<float> work();
  // All is said and has become sound.
  bool is_finished() const;

  int64_t rate_hz() const { return speaker_.rate_hz(); }
  const SpeechUsage& usage() const { return usage_; }

 private:
  struct Piece {
    std::vector<int32_t> text, speech;
    std::unique_ptr<SpeechRender> render;
    size_t rendered = 0;   // of speech
    bool is_said = false;  // no more tokens come
    bool is_done = false;  // it is sound, all of it
  };

  void submit_next();
  void take(const TokenEvent& event);
  Request request_for(const Piece& piece) const;
  std::optional<size_t> next_to_render() const;

  Service& service_;
  Speaker& speaker_;
  const std::string id_;
  const std::function<void()> notify_;
  std::shared_ptr<const Voice> voice_;
  RenderOptions options_;
  bool is_greedy_;
  std::vector<Piece> pieces_;
  size_t saying_ = 0;  // the piece that the engine says, or would next
  std::string part_id_;
  std::shared_ptr<EventStream> stream_;  // of that piece; null: it is not submitted
  SpeechUsage usage_;
};

}  // namespace quern

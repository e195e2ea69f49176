// SPDX-License-Identifier: Apache-2.0
// Transcription: one recording on its way to text, by the engine that answers everything else too.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/service.h"
#include "api/speech/transcript_format.h"
#include "api/speech/transcription_request.h"

namespace quern {

class Transcription {
 public:
  virtual ~Transcription() = default;  // cancels what still runs

  // Takes what has come and submits what is next; does not wait. Throws RequestError for a request
  // that failed, and what Service::submit throws.
  virtual void poll() = 0;
  virtual bool is_finished() const = 0;
  // Text that came since the last call.
  virtual std::string take_text() = 0;
  // What there is of it so far.
  virtual const TranscriptText& transcript() const = 0;
  virtual double seconds_done() const = 0;
};

// Slow: decodes the recording. `service` must outlive the result; `id` names the request in logs
// and must be unique among those running; `notify` is called from the engine's thread whenever poll
// may have news; `seed` holds where the request has none. Throws RequestError: a wrong field,
// damaged sound, one that the model cannot do.
std::unique_ptr<Transcription> make_transcription(Service& service,
                                                  std::string id,
                                                  TranscriptionRequest request,
                                                  uint64_t seed,
                                                  std::function<void()> notify);

}  // namespace quern

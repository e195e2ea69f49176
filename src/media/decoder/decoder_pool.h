// SPDX-License-Identifier: Apache-2.0
// DecoderPool: a few long-lived processes that decode pictures and recordings, so that a bug in a
// decoder ends one of them and one request, not the server.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "media/decoder/media_decoder.h"
#include "media/decoder/protocol.h"

namespace quern {

// A process that runs serve_decoder on the other end of a stream socket.
class DecoderChild {
 public:
  virtual ~DecoderChild() = default;

  virtual int fd() const = 0;
  // Ends it at once if it still runs; says how it ended: "was killed by signal 11 (Segmentation
  // fault)".
  virtual std::string end() = 0;
};
// Throws unavailable if none can be started. Called from one thread of the pool's own.
using StartDecoder = std::function<std::unique_ptr<DecoderChild>()>;

struct DecoderPoolOptions {
  int children = 2;
  int64_t timeout_ms = 30'000;        // for one medium, and for waiting until a child is free
  int64_t start_timeout_ms = 20'000;  // until a new child says that it is there
};

class DecoderPool final : public MediaDecoder {
 public:
  // Returns when the first child is ready. Throws unavailable if it cannot be started.
  DecoderPool(StartDecoder start, const DecoderPoolOptions& options);
  ~DecoderPool() override;
  DecoderPool(const DecoderPool&) = delete;
  DecoderPool& operator=(const DecoderPool&) = delete;

  // The header is checked here; the rest by a child. Beside what decode_image throws:
  // invalid_argument if the child died of it, took too long or answered nonsense (it is ended then,
  // and another one started), unavailable if none was free in time.
  Image decode(std::span<const std::byte> bytes, const ImageLimits& limits) override;
  // The same of a video file, which a child alone looks into.
  Clip decode_clip(std::span<const std::byte> bytes,
                   const FrameRule& rule,
                   const ClipLimits& limits) override;
  // The same of a recording.
  Sound decode_sound(std::span<const std::byte> bytes,
                     const SoundForm& form,
                     const SoundLimits& limits) override;
  int64_t losses() const override;
  // Whether the kernel filters the children's system calls.
  bool is_filtered() const;

 private:
  using Child = std::unique_ptr<DecoderChild>;

  void keep();  // the keeper's thread: starts children as long as there are too few
  Child start_one(bool& is_filtered);
  Child take();
  void give_back(Child child);
  [[noreturn]] void lose(Child child, std::string_view what);
  // What a child's answer becomes. `check` says whether its reply's sizes are believed; `receive`
  // then takes what follows it, through a function that fills a span.
  using Fill = std::function<void(std::span<std::byte>)>;
  struct Answer {
    std::function<bool(const DecodeReply&)> check;
    std::function<void(const DecodeReply&, const Fill&)> receive;
  };
  // Has a child decode the bytes. Throws as decode says.
  void exchange(const DecodeRequest& request,
                std::span<const std::byte> bytes,
                const Answer& answer);
  void exchange_with(Child& child,
                     const DecodeRequest& request,
                     std::span<const std::byte> bytes,
                     const Answer& answer);
  Clip exchange_frames(const DecodeRequest& request,
                       std::span<const std::byte> bytes,
                       const std::function<bool(const DecodeReply&)>& check);

  const StartDecoder start_;
  const DecoderPoolOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Child> idle_;
  int alive_ = 0;  // idle or at work
  int64_t losses_ = 0;
  bool is_ending_ = false, has_started_ = false, is_filtered_ = false;
  std::string start_error_;
  std::thread keeper_;
};

}  // namespace quern

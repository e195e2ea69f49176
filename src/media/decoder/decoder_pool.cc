// SPDX-License-Identifier: Apache-2.0
#include "media/decoder/decoder_pool.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "media/decoder/protocol.h"
#include "media/image/header.h"

namespace quern {
namespace {

constexpr std::chrono::milliseconds kFirstPause{100}, kLongestPause{5'000};

int64_t deadline_after(int64_t timeout_ms) {
  return MonotonicClock().now_us() + timeout_ms * 1000;
}

// Text from a process that may have been taken over: printable, and short.
std::string harmless(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return text;
}

std::string_view name_of(DecodeKind what) {
  switch (what) {
    case DecodeKind::picture:
      return "picture";
    case DecodeKind::clip:
      return "video file";
    case DecodeKind::recording:
      return "recording";
  }
  return "";
}

// The errors that decode_image has; a child's other ones mean nothing here.
ErrorCode code_of(int32_t error) {
  for (const ErrorCode code : {ErrorCode::invalid_argument,
                               ErrorCode::unsupported,
                               ErrorCode::data_loss,
                               ErrorCode::exhausted})
    if (error == static_cast<int32_t>(code)) return code;
  return ErrorCode::data_loss;
}

}  // namespace

DecoderPool::DecoderPool(StartDecoder start, const DecoderPoolOptions& options)
    : start_(std::move(start)), options_(options) {
  QUERN_CHECK(options_.children > 0);
  keeper_ = std::thread([this] { keep(); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return has_started_ || !start_error_.empty(); });
  if (has_started_) return;
  is_ending_ = true;
  const std::string error = start_error_;
  lock.unlock();
  changed_.notify_all();
  keeper_.join();
  fail(ErrorCode::unavailable, "no process that decodes media can be started: {}", error);
}

DecoderPool::~DecoderPool() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  keeper_.join();
  for (Child& child : idle_) child->end();
}

DecoderPool::Child DecoderPool::start_one(bool& is_filtered) {
  Child child = start_();
  DecoderHello hello{.magic = 0};
  const Transfer came =
      receive_all(child->fd(), writable_bytes_of(hello), deadline_after(options_.start_timeout_ms));
  if (came != Transfer::done || hello.magic != DecoderHello::kMagic)
    fail(ErrorCode::unavailable,
         "it {} before it was ready: it {}",
         came == Transfer::late ? "did not answer" : "ended",
         child->end());
  is_filtered = hello.is_filtered != 0;
  return child;
}

void DecoderPool::keep() {
  auto pause = kFirstPause;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return is_ending_ || alive_ < options_.children; });
    if (is_ending_) return;
    lock.unlock();
    Child child;
    bool is_filtered = false;
    std::string error;
    try {
      child = start_one(is_filtered);
    } catch (const std::exception& e) {
      error = e.what();
      log(LogLevel::error, "a process that decodes media cannot be started: {}", error);
    }
    lock.lock();
    start_error_ = error;
    if (child) {
      idle_.push_back(std::move(child));
      ++alive_;
      has_started_ = true;
      is_filtered_ = is_filtered;
      pause = kFirstPause;
    }
    changed_.notify_all();
    if (error.empty()) continue;
    changed_.wait_for(lock, pause, [this] { return is_ending_; });
    pause = std::min(pause * 2, kLongestPause);
  }
}

// Those that died while nobody asked them anything are replaced without anybody's harm.
DecoderPool::Child DecoderPool::take() {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.timeout_ms);
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!changed_.wait_until(lock, deadline, [this] { return !idle_.empty(); }))
      fail(ErrorCode::unavailable,
           "no process was free to decode it within {} ms{}",
           options_.timeout_ms,
           start_error_.empty() ? "" : "; none can be started: " + start_error_);
    Child child = std::move(idle_.front());
    idle_.pop_front();
    if (!has_input(child->fd())) return child;
    --alive_;
    ++losses_;
    lock.unlock();
    log(LogLevel::warn, "a process that decodes media {} while it was idle", child->end());
    changed_.notify_all();
    lock.lock();
  }
}

void DecoderPool::give_back(Child child) {
  {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(child));
  }
  changed_.notify_all();
}

void DecoderPool::lose(Child child, std::string_view what) {
  const std::string ending = child->end();
  {
    const std::lock_guard lock(mutex_);
    --alive_;
    ++losses_;
  }
  changed_.notify_all();
  log(LogLevel::warn, "a process that decodes media was lost: {}: it {}", what, ending);
  fail(ErrorCode::invalid_argument, "{}; send it in another form", what);
}

void DecoderPool::exchange_with(Child& child,
                                const DecodeRequest& request,
                                std::span<const std::byte> bytes,
                                const Answer& answer) {
  const int fd = child->fd();
  const int64_t deadline = deadline_after(options_.timeout_ms);
  const std::string_view name = name_of(request.what);
  const auto done = [&](Transfer transfer) {
    if (transfer == Transfer::closed)
      lose(std::move(child), format("{}: the decoder died on it", name));
    if (transfer == Transfer::late)
      lose(std::move(child), format("{}: not decoded within {} ms", name, options_.timeout_ms));
  };
  const auto makes_sense = [&](bool claim) {
    if (!claim) lose(std::move(child), format("{}: the answer to it makes no sense", name));
  };
  done(send_all(fd, bytes_of(request), deadline));
  done(send_all(fd, bytes, deadline));
  DecodeReply reply{.magic = 0};
  done(receive_all(fd, writable_bytes_of(reply), deadline));
  makes_sense(reply.magic == DecodeReply::kMagic && reply.text_bytes <= DecodeReply::kMaxText);
  if (reply.error >= 0) {
    std::string text(reply.text_bytes, '\0');
    done(receive_all(fd, std::as_writable_bytes(std::span(text)), deadline));
    throw Error(code_of(reply.error), harmless(std::move(text)));
  }
  makes_sense(answer.check(reply));
  answer.receive(reply, [&](std::span<std::byte> to) { done(receive_all(fd, to, deadline)); });
  makes_sense(!has_input(fd));
}

void DecoderPool::exchange(const DecodeRequest& request,
                           std::span<const std::byte> bytes,
                           const Answer& answer) {
  Child child = take();
  try {
    exchange_with(child, request, bytes, answer);
    give_back(std::move(child));
  } catch (const Error&) {
    // An error of the medium: the child has answered and goes on. Else it is gone already.
    if (child) give_back(std::move(child));
    throw;
  } catch (...) {  // no memory: the child's answer has not been heard to its end
    if (child) lose(std::move(child), "media: there is no memory to decode them");
    throw;
  }
}

Clip DecoderPool::exchange_frames(const DecodeRequest& request,
                                  std::span<const std::byte> bytes,
                                  const std::function<bool(const DecodeReply&)>& check) {
  Clip clip;
  exchange(request,
           bytes,
           {check, [&](const DecodeReply& reply, const Fill& fill) {
              clip.fps = reply.fps;
              const auto size = static_cast<size_t>(reply.width * reply.height * 3);
              for (uint32_t i = 0; i < reply.frames; ++i) {
                clip.frames.push_back({reply.width, reply.height, std::vector<uint8_t>(size)});
                fill(std::as_writable_bytes(std::span(clip.frames.back().rgb)));
              }
            }});
  return clip;
}

Image DecoderPool::decode(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const ImageHeader header = read_image_header(bytes, limits);
  const DecodeRequest request{.bytes = bytes.size(), .max_pixels = limits.max_pixels};
  // The header was read here: what contradicts it is not believed.
  Clip clip = exchange_frames(request, bytes, [&](const DecodeReply& reply) {
    return reply.frames == 1 && reply.width == header.width && reply.height == header.height;
  });
  return std::move(clip.frames.front());
}

Clip DecoderPool::decode_clip(std::span<const std::byte> bytes,
                              const FrameRule& rule,
                              const ClipLimits& limits) {
  if (!has_video_decoder()) return quern::decode_clip(bytes, rule, limits);  // says so
  const DecodeRequest request{.what = DecodeKind::clip,
                              .bytes = bytes.size(),
                              .max_pixels = limits.max_pixels,
                              .max_clip_pixels = limits.max_clip_pixels,
                              .rule = rule};
  return exchange_frames(request, bytes, [&](const DecodeReply& reply) {
    if (reply.frames < 1 || reply.frames > rule.max_frames) return false;
    if (!(reply.fps > 0 && reply.fps <= 1e4) || reply.width < 1 || reply.height < 1) return false;
    if (reply.width > limits.max_pixels / reply.height) return false;
    return reply.frames <= limits.max_clip_pixels / (reply.width * reply.height);
  });
}

Sound DecoderPool::decode_sound(std::span<const std::byte> bytes,
                                const SoundForm& form,
                                const SoundLimits& limits) {
  sound_format_of(bytes, limits);  // throws
  const DecodeRequest request{.what = DecodeKind::recording,
                              .bytes = bytes.size(),
                              .rate_hz = form.rate_hz,
                              .channel = form.channel,
                              .max_seconds = limits.max_seconds};
  Sound sound;
  const auto check = [&](const DecodeReply& reply) {
    const bool is_rate = form.rate_hz != SoundForm::kFileRate
                             ? reply.rate_hz == form.rate_hz
                             : reply.rate_hz >= kLeastFileRate && reply.rate_hz <= kMostFileRate;
    // A partial second, at the end, is rounded up by at most one sample.
    return is_rate && reply.samples >= 1 && reply.samples <= limits.max_seconds * reply.rate_hz + 1;
  };
  exchange(request, bytes, {check, [&](const DecodeReply& reply, const Fill& fill) {
                              sound.rate_hz = reply.rate_hz;
                              sound.samples.resize(static_cast<size_t>(reply.samples));
                              fill(std::as_writable_bytes(std::span(sound.samples)));
                            }});
  // Numbers from a process that may have been taken over.
  for (const float sample : sound.samples)
    if (!std::isfinite(sample)) fail(ErrorCode::data_loss, "recording: it holds no numbers");
  return sound;
}

int64_t DecoderPool::losses() const {
  const std::lock_guard lock(mutex_);
  return losses_;
}

bool DecoderPool::is_filtered() const {
  const std::lock_guard lock(mutex_);
  return is_filtered_;
}

}  // namespace quern

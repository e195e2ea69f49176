// SPDX-License-Identifier: Apache-2.0
// The pool against children that behave, and against ones that die, hang, lie and babble: threads
// with the other end of the socket, which follow a script.
#include "media/decoder/decoder_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <future>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "media/decoder/decoder_loop.h"
#include "media/decoder/protocol.h"

namespace quern {
namespace {

using testing::HasSubstr;
using Script = std::function<void(int fd)>;

constexpr ClipLimits kAll{.max_bytes = 1 << 20, .max_pixels = 1 << 20};
constexpr ImageLimits kMost{.max_bytes = kAll.max_bytes, .max_pixels = kAll.max_pixels};

class ScriptedChild final : public DecoderChild {
 public:
  explicit ScriptedChild(const Script& script) {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_), 0);
    thread_ = std::thread([script, fd = fds_[1]] {
      script(fd);
      shutdown(fd, SHUT_RDWR);
    });
  }
  ~ScriptedChild() override { end(); }

  int fd() const override { return fds_[0]; }
  std::string end() override {
    if (thread_.joinable()) {
      shutdown(fds_[0], SHUT_RDWR);
      thread_.join();
      close(fds_[0]), close(fds_[1]);
    }
    return "followed its script";
  }

 private:
  int fds_[2] = {-1, -1};
  std::thread thread_;
};

void behave(int fd) {
  serve_decoder(fd, {.clip = kAll, .max_sound_seconds = 10}, false);
}

void say_hello(int fd) {
  write_all(fd, bytes_of(DecoderHello()));
}

// Reads one request.
bool hear(int fd) {
  DecodeRequest request;
  if (!read_all(fd, writable_bytes_of(request))) return false;
  std::vector<std::byte> bytes(request.bytes);
  return read_all(fd, bytes);
}

void wait_for_the_end(int fd) {
  std::byte byte;
  while (read_all(fd, std::span(&byte, 1))) {
  }
}

// Says hello, hears one request, answers it so.
Script answering(std::function<void(int fd)> answer) {
  return [answer = std::move(answer)](int fd) {
    say_hello(fd);
    if (!hear(fd)) return;
    answer(fd);
    wait_for_the_end(fd);
  };
}

// The first child follows `first`, the others behave.
StartDecoder starting(Script first, std::shared_ptr<std::atomic<int>> starts = nullptr) {
  if (!starts) starts = std::make_shared<std::atomic<int>>(0);
  return [first = std::move(first), starts] {
    return std::make_unique<ScriptedChild>(starts->fetch_add(1) == 0 ? first : Script(behave));
  };
}

std::string picture() {
  return read_file(QUERN_SOURCE_DIR "/tests/fuzz/image/rgb.png");
}

Image decode(DecoderPool& pool, const std::string& bytes, const ImageLimits& limits = kMost) {
  return pool.decode(std::as_bytes(std::span(bytes)), limits);
}

Error error_of(DecoderPool& pool, const std::string& bytes, const ImageLimits& limits = kMost) {
  try {
    decode(pool, bytes, limits);
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorCode::internal, "no error");
}

// The child is lost over a picture, once; the next one decodes.
void expect_one_loss(const Script& script, const char* what, int64_t timeout_ms = 5'000) {
  DecoderPool pool(starting(script), {.children = 1, .timeout_ms = timeout_ms});
  const Error error = error_of(pool, picture());
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
  EXPECT_THAT(error.what(), HasSubstr(what));
  EXPECT_EQ(pool.losses(), 1);
  EXPECT_EQ(decode(pool, picture()).width, 20);
  EXPECT_EQ(pool.losses(), 1);
}

TEST(DecoderPool, DecodesAsInProcess) {
  DecoderPool pool(starting(behave), {.children = 2});
  for (const char* name : {"rgb.png", "progressive.jpg", "lossy.webp", "offset.gif"}) {
    const std::string bytes = read_file(std::string(QUERN_SOURCE_DIR "/tests/fuzz/image/") + name);
    EXPECT_EQ(decode(pool, bytes).rgb, decode_image(std::as_bytes(std::span(bytes))).rgb) << name;
  }
  EXPECT_EQ(pool.losses(), 0);
}

std::string recording() {
  return read_file(QUERN_SOURCE_DIR "/tests/golden/glmasr/inputs/audio_a.wav");
}

TEST(DecoderPool, RecordingsComeAsInProcess) {
  DecoderPool pool(starting(behave), {.children = 1});
  const std::string file = recording();
  const auto bytes = std::as_bytes(std::span(file));
  for (const int64_t rate_hz : {16'000, 24'000}) {
    const Sound sound = pool.decode_sound(bytes, rate_hz, {});
    EXPECT_EQ(sound.samples, decode_sound(bytes, rate_hz).samples);
    EXPECT_EQ(sound.rate_hz, rate_hz);
  }
  const std::string stereo =
      read_file(QUERN_SOURCE_DIR "/tests/golden/glm_tts_frontend/inputs/b.wav");
  const SoundForm form(SoundForm::kFileRate, SoundChannel::first);
  const Sound first = pool.decode_sound(std::as_bytes(std::span(stereo)), form, {});
  EXPECT_EQ(first.samples, decode_sound(std::as_bytes(std::span(stereo)), form).samples);
  EXPECT_EQ(first.rate_hz, 32'000);
  const auto code = [&](std::span<const std::byte> part, const SoundLimits& limits) {
    try {
      pool.decode_sound(part, 16'000, limits);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code(bytes, {.max_seconds = 1}), ErrorCode::exhausted);
  EXPECT_EQ(code(bytes, {.max_bytes = 100}), ErrorCode::exhausted);
  EXPECT_EQ(code(bytes.first(30), {}), ErrorCode::data_loss);
  EXPECT_EQ(code(bytes.subspan(1), {}), ErrorCode::unsupported);
  EXPECT_EQ(pool.losses(), 0);
}

TEST(DecoderPool, NonsenseAboutRecordingsIsNotBelieved) {
  const std::string file = recording();
  for (const int64_t samples : {int64_t{-1}, int64_t{0}, int64_t{1} << 40}) {
    const auto answer = [samples](int fd) {
      write_all(fd, bytes_of(DecodeReply{.samples = samples, .rate_hz = 16'000}));
    };
    DecoderPool pool(starting(answering(answer)), {.children = 1});
    EXPECT_THROW(pool.decode_sound(std::as_bytes(std::span(file)), 16'000, {}), Error);
    EXPECT_EQ(pool.losses(), 1) << samples;
  }
  for (const int64_t rate_hz : {0, 8'000, 1 << 30}) {
    DecoderPool pool(starting(answering([rate_hz](int fd) {
                       write_all(fd, bytes_of(DecodeReply{.samples = 1, .rate_hz = rate_hz}));
                     })),
                     {.children = 1});
    EXPECT_THROW(pool.decode_sound(std::as_bytes(std::span(file)), 16'000, {}), Error);
  }
  DecoderPool pool(starting(answering([](int fd) {
                     write_all(fd, bytes_of(DecodeReply{.samples = 1, .rate_hz = 16'000}));
                     write_all(fd, bytes_of(std::numeric_limits<float>::quiet_NaN()));
                   })),
                   {.children = 1});
  EXPECT_THROW(pool.decode_sound(std::as_bytes(std::span(file)), 16'000, {}), Error);
}

TEST(DecoderPool, ErrorsOfPicturesPassAndLoseNothing) {
  DecoderPool pool(starting(behave), {.children = 1});
  EXPECT_EQ(error_of(pool, picture().substr(0, 70)).code(), ErrorCode::data_loss);
  EXPECT_EQ(error_of(pool, "GIF87a").code(), ErrorCode::data_loss);
  EXPECT_EQ(error_of(pool, "<html>").code(), ErrorCode::unsupported);
  EXPECT_EQ(error_of(pool, picture(), {.max_pixels = 20 * 14 - 1}).code(), ErrorCode::exhausted);
  EXPECT_EQ(decode(pool, picture()).height, 14);
  EXPECT_EQ(pool.losses(), 0);
}

TEST(DecoderPool, AChildThatDiesCostsOneRequest) {
  expect_one_loss(
      [](int fd) {
        say_hello(fd);
        hear(fd);
      },
      "picture: the decoder died on it");
}

TEST(DecoderPool, AChildThatDiesInsideItsAnswer) {
  expect_one_loss(
      [](int fd) {
        say_hello(fd);
        hear(fd);
        write_all(fd, bytes_of(DecodeReply{.width = 20, .height = 14}));
        write_all(fd, bytes_of(uint64_t{0}));
      },
      "died on it");
}

TEST(DecoderPool, AChildThatHangsIsEnded) {
  expect_one_loss(answering([](int) {}), "not decoded within 300 ms", 300);
}

TEST(DecoderPool, AChildThatReadsNothingIsEnded) {
  const std::string large = picture() + std::string(900'000, 'x');  // more than a socket holds
  DecoderPool pool(starting([](int fd) {
                     say_hello(fd);
                     while (!has_input(fd)) usleep(1'000);
                     usleep(500'000);
                   }),
                   {.children = 1, .timeout_ms = 200});
  EXPECT_THAT(error_of(pool, large).what(), HasSubstr("not decoded within 200 ms"));
}

TEST(DecoderPool, NonsenseIsNotBelieved) {
  const auto garbage = [](int fd) {
    const std::string text(4096, 'g');
    write_all(fd, std::as_bytes(std::span(text)));
  };
  expect_one_loss(answering(garbage), "makes no sense");
  for (const DecodeReply& reply :
       {DecodeReply{.width = 14, .height = 20},
        DecodeReply{.width = -1, .height = -1},
        DecodeReply{.frames = 2, .width = 20, .height = 14},
        DecodeReply{.width = int64_t{1} << 40, .height = int64_t{1} << 40},
        DecodeReply{.error = 0, .text_bytes = UINT32_MAX}})
    expect_one_loss(answering([reply](int fd) { write_all(fd, bytes_of(reply)); }),
                    "makes no sense");
}

TEST(DecoderPool, MoreBytesThanSaidAreNotBelieved) {
  expect_one_loss(answering([](int fd) {
                    const DecodeReply reply{.width = 20, .height = 14};
                    std::vector<std::byte> all(sizeof reply + 20 * 14 * 3 + 1);
                    std::memcpy(all.data(), &reply, sizeof reply);
                    write_all(fd, all);
                  }),
                  "makes no sense");
}

TEST(DecoderPool, TextOfAChildIsHarmlessAndItsCodesAreFew) {
  DecoderPool pool(starting(answering([](int fd) {
                     const std::string text = "a\x1b[2J\xff";
                     const DecodeReply reply{.error = 7777,
                                             .text_bytes = static_cast<uint32_t>(text.size())};
                     write_all(fd, bytes_of(reply));
                     write_all(fd, std::as_bytes(std::span(text)));
                   })),
                   {.children = 1});
  const Error error = error_of(pool, picture());
  EXPECT_EQ(error.code(), ErrorCode::data_loss);
  EXPECT_STREQ(error.what(), "a?[2J?");
}

TEST(DecoderPool, AChildThatDiedIdleHarmsNobody) {
  const auto ended = std::make_shared<std::promise<void>>();
  const Script dies = [ended](int fd) {
    say_hello(fd);
    shutdown(fd, SHUT_RDWR);
    ended->set_value();
  };
  DecoderPool pool(starting(dies), {.children = 1});
  ended->get_future().wait();
  EXPECT_EQ(decode(pool, picture()).width, 20);
  EXPECT_EQ(pool.losses(), 1);
}

TEST(DecoderPool, OthersGoOnWhileOneHangs) {
  DecoderPool pool(starting(answering([](int) {})), {.children = 2, .timeout_ms = 2'000});
  std::thread victim([&] { EXPECT_THAT(error_of(pool, picture()).what(), HasSubstr("within")); });
  usleep(100'000);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(decode(pool, picture()).width, 20);
  victim.join();
  EXPECT_EQ(pool.losses(), 1);
}

TEST(DecoderPool, WhoFindsNoneFreeIsToldToComeAgain) {
  DecoderPool pool(starting(answering([](int) {})), {.children = 1, .timeout_ms = 400});
  std::thread first([&] { error_of(pool, picture()); });
  usleep(50'000);
  std::vector<std::thread> others;
  std::atomic<int> unavailable{0}, done{0};
  for (int i = 0; i < 2; ++i)
    others.emplace_back([&] {
      const ErrorCode code = error_of(pool, picture()).code();
      unavailable += code == ErrorCode::unavailable, done += code == ErrorCode::internal;
    });
  first.join();
  for (std::thread& other : others) other.join();
  EXPECT_EQ(unavailable + done, 2);  // in time or not, but never something else
}

TEST(DecoderPool, ThatNoneCanBeStartedIsKnownAtOnce) {
  const auto failing = []() -> std::unique_ptr<DecoderChild> {
    fail(ErrorCode::unavailable, "no more processes");
  };
  EXPECT_THROW(DecoderPool(failing, {.children = 1}), Error);
  const Script silent = wait_for_the_end;
  try {
    DecoderPool pool(starting(silent), {.children = 1, .start_timeout_ms = 100});
    FAIL() << "it has not said hello";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("did not answer before it was ready"));
  }
}

TEST(DecoderPool, ManyThreadsShareFewChildren) {
  DecoderPool pool(starting(behave), {.children = 2});
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) EXPECT_EQ(decode(pool, picture()).width, 20);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.losses(), 0);
}

}  // namespace
}  // namespace quern

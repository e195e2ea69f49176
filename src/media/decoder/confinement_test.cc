// SPDX-License-Identifier: Apache-2.0
// What a confined process still can, and what ends it. Each case is a process of its own.
#include "media/decoder/confinement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <new>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/encoded_sound.h"
#include "media/audio/sound.h"
#include "media/image/image.h"
#include "media/video/clip.h"

namespace quern {
namespace {

constexpr int kUnfiltered = 77;  // exit code of a child whose kernel has no filters

// The status of a confined child that does `body` and exits with what it returns.
int status_of(const std::function<int()>& body,
              bool needs_filter,
              size_t memory_bytes = size_t{64} << 20) {
  const pid_t pid = fork();
  if (pid == 0) {
    const bool is_filtered = confine_process(memory_bytes);
    if (needs_filter && !is_filtered) _exit(kUnfiltered);
    _exit(body());
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

bool is_killed(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == kUnfiltered) return true;  // nothing to see here
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

bool is_exit(int status, int code) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == kUnfiltered) return true;
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

TEST(Confinement, PicturesOfEveryFormatAreDecoded) {
  std::vector<std::string> files;
  for (const char* name : {"progressive.jpg", "interlaced.png", "animated.webp", "interlaced.gif"})
    files.push_back(read_file(std::string(QUERN_SOURCE_DIR "/tests/fuzz/image/") + name));
  const int status = status_of(
      [&] {
        for (const std::string& file : files)
          if (decode_image(std::as_bytes(std::span(file))).width == 0) return 1;
        try {
          decode_image(std::as_bytes(std::span(files[1]).first(60)));
        } catch (const Error&) {
          return 0;  // errors are thrown as ever
        }
        return 2;
      },
      false);
  EXPECT_TRUE(is_exit(status, 0)) << status;
}

TEST(Confinement, RecordingsOfEveryFormatAreDecoded) {
  std::vector<std::string> files;
  for (const int format : {SF_FORMAT_WAV | SF_FORMAT_PCM_16,
                           SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                           SF_FORMAT_OGG | SF_FORMAT_VORBIS,
                           SF_FORMAT_OGG | SF_FORMAT_OPUS,
                           SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III})
    files.push_back(encoded(tone(48'000, 0.5), 48'000, 1, format));
  for (size_t i = 0; i < files.size(); ++i) {
    const auto decode = [&] {
      const Sound sound = decode_sound(std::as_bytes(std::span(files[i])), 16'000);
      if (sound.samples.size() < 8'000) return 1;
      try {
        decode_sound(std::as_bytes(std::span(files[i]).first(40)), 16'000);
      } catch (const Error&) {
        return 0;  // errors are thrown as ever
      }
      return 2;
    };
    const int status = status_of(decode, false);
    EXPECT_TRUE(is_exit(status, 0)) << "file " << i << ": " << status;
  }
}

TEST(Confinement, VideoFilesAreDecoded) {
  if (!has_video_decoder()) GTEST_SKIP() << "this build decodes no video files";
  for (const char* name : {"steps.mp4", "steps.webm"}) {
    const std::string file = read_file(std::string(QUERN_SOURCE_DIR "/tests/fuzz/clip/") + name);
    const auto decode = [&] {
      return decode_clip(std::as_bytes(std::span(file)), {}).frames.size() == 6 ? 0 : 1;
    };
    const int status = status_of(decode, false, size_t{512} << 20);
    EXPECT_TRUE(is_exit(status, 0)) << name << ": " << status;
  }
}

TEST(Confinement, NoFileIsOpened) {
  const int status =
      status_of([] { return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1; }, true);
  EXPECT_TRUE(is_exit(status, 0)) << status;
}

TEST(Confinement, OtherCallsEndTheProcess) {
  EXPECT_TRUE(is_killed(status_of([] { return socket(AF_INET, SOCK_STREAM, 0); }, true)));
  EXPECT_TRUE(is_killed(status_of([] { return fork() == 0 ? 0 : 1; }, true)));
  EXPECT_TRUE(is_killed(status_of([] { return kill(getppid(), 0); }, true)));
  EXPECT_TRUE(is_killed(status_of([] { return execl("/bin/true", "true", nullptr); }, true)));
  const auto map_code = [] {
    return mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? 1
               : 0;
  };
  EXPECT_TRUE(is_killed(status_of(map_code, true)));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Confinement, MemoryHasItsBound) {
  const auto take = [](size_t bytes) {
    return [bytes] {
      try {
        std::vector<char> block(bytes);
        return block[bytes / 2] == 0 ? 0 : 2;
      } catch (const std::bad_alloc&) {
        return 1;
      }
    };
  };
  EXPECT_TRUE(is_exit(status_of(take(size_t{32} << 20), false), 0));
  EXPECT_TRUE(is_exit(status_of(take(size_t{128} << 20), false), 1));
}
#endif

}  // namespace
}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// quern decode-media: a process that decodes pictures and recordings for a server: started by it,
// never by hand. It has a socket as descriptor 3, and after its first moments no rights to anything
// else.
#include "media_decoder.h"

#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "child_process.h"
#include "commands.h"
#include "exit_codes.h"
#include "media/decoder/decoder_loop.h"
#include "media/decoder/decoder_pool.h"

namespace quern {
namespace {

constexpr int kSocketFd = 3, kMostChildren = 4;

class DecoderProcess final : public DecoderChild {
 public:
  DecoderProcess(int own_fd, const ChildProcess::Start& start) : fd_(own_fd), process_(start) {}
  ~DecoderProcess() override { close(fd_); }

  int fd() const override { return fd_; }
  std::string end() override { return process_.end(); }

 private:
  const int fd_;
  ChildProcess process_;
};

std::unique_ptr<DecoderChild> start_decoder(const MediaLimits& limits) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    fail(ErrorCode::unavailable, "socketpair: {}", std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } const childs{fds[1]};
  const ChildProcess::Start start{.arguments = {"decode-media",
                                                "--parent",
                                                std::to_string(getpid()),
                                                "--max-bytes",
                                                std::to_string(limits.max_bytes),
                                                "--max-pixels",
                                                std::to_string(limits.max_pixels),
                                                "--max-clip-pixels",
                                                std::to_string(limits.max_clip_pixels),
                                                "--max-audio-seconds",
                                                std::to_string(limits.max_audio_seconds)},
                                  .fds = {fds[1]},
                                  .label = "[media decoder] ",
                                  .gets_environment = false};
  try {
    return std::make_unique<DecoderProcess>(fds[0], start);
  } catch (...) {
    close(fds[0]);
    throw;
  }
}

std::shared_ptr<MediaDecoder> start_pool(const MediaOptions& options) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const DecoderPoolOptions pool{.children = std::clamp(cores, 1, kMostChildren),
                                .timeout_ms = options.decode_timeout_s * 1000};
  auto out = std::make_shared<DecoderPool>(
      [limits = options.limits] { return start_decoder(limits); }, pool);
  log(LogLevel::info,
      "media: {} processes decode {}, {}",
      pool.children,
      has_video_decoder() ? "pictures, recordings and video files" : "pictures and recordings",
      out->is_filtered() ? "held to a few system calls"
                         : "with limits but without a filter of system calls");
  return out;
}

int decode(pid_t parent, const DecoderLimits& most) {
  if (!die_with(parent, SIGKILL)) return kExitTemporary;
  // Sent to a whole service at its end: the server's last requests may still want a picture.
  std::signal(SIGTERM, SIG_IGN);
  std::signal(SIGINT, SIG_IGN);
  serve_decoder(kSocketFd, most, true);
  _exit(kExitDone);  // nothing that ends a process in order could be called any more
}

}  // namespace

MediaSource open_media(const MediaOptions& options, const PromptBuilder& model) {
  if (!model.takes_media()) return MediaSource(options.limits);
  constexpr double kGib = 1 << 30;
  const auto cache_bytes = static_cast<size_t>(options.cache_gb * kGib);
  return MediaSource(options.limits,
                     options.decoder == "process" ? start_pool(options) : nullptr,
                     cache_bytes > 0 ? std::make_shared<MediaCache>(cache_bytes) : nullptr);
}

std::shared_ptr<MediaDecoder> open_decoder(const MediaOptions& options) {
  if (options.decoder == "process") return start_pool(options);
  return std::make_shared<InProcessDecoder>();
}

void add_decoder_command(CLI::App& parent, int& exit_code) {
  auto front = std::make_shared<pid_t>(0);
  auto most = std::make_shared<DecoderLimits>();
  CLI::App* command = parent.add_subcommand(
      "decode-media",
      "decodes pictures and recordings for a server; started by serve, not by hand");
  command->group("");  // not in the list of commands
  command->add_option("--parent", *front, "process that starts it")->required();
  command->add_option("--max-bytes", most->clip.max_bytes, "bytes of one encoded medium");
  command->add_option("--max-pixels", most->clip.max_pixels, "pixels of one picture or frame");
  command->add_option("--max-clip-pixels", most->clip.max_clip_pixels, "pixels of a clip's frames");
  command->add_option("--max-audio-seconds", most->max_sound_seconds, "seconds of one recording");
  command->callback([front, most, &exit_code] { exit_code = decode(*front, *most); });
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// Video files through FFmpeg (libavformat, libavcodec, libswscale), from memory, in one thread. The
// file is walked twice: frames are counted first, then decoded up to the last one that is taken.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
}

#include "base/error.h"
#include "media/video/clip.h"

namespace quern {
namespace {

constexpr const char* kFormats = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts";
constexpr const char* kCodecs =
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mpeg2video,mjpeg";
constexpr int kBufferBytes = 64 << 10;
constexpr int64_t kMostFrames = 1 << 20;  // of the file

// Where in the bytes the library reads.
struct Reader {
  std::span<const std::byte> bytes;
  int64_t at = 0;
};

int read_bytes(void* opaque, uint8_t* target, int count) {
  auto& reader = *static_cast<Reader*>(opaque);
  const auto left = static_cast<int64_t>(reader.bytes.size()) - reader.at;
  const int64_t taken = std::min<int64_t>(left, count);
  if (taken <= 0) return AVERROR_EOF;
  std::copy_n(reinterpret_cast<const uint8_t*>(reader.bytes.data()) + reader.at, taken, target);
  reader.at += taken;
  return static_cast<int>(taken);
}

int64_t seek(void* opaque, int64_t offset, int whence) {
  auto& reader = *static_cast<Reader*>(opaque);
  const auto size = static_cast<int64_t>(reader.bytes.size());
  if ((whence & AVSEEK_SIZE) != 0) return size;
  const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? reader.at : size;
  if (base + offset < 0 || base + offset > size) return AVERROR(EINVAL);
  return reader.at = base + offset;
}

// A file that names others (a playlist, a reference movie) gets none of them.
int open_nothing(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) {
  return AVERROR(EACCES);
}

struct Free {
  void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);
    avio_context_free(&io);
  }
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

template <typename T>
Owned<T> owned(T* made) {
  if (!made) throw std::bad_alloc();
  return Owned<T>(made);
}

[[noreturn]] void damaged(const char* what) {
  fail(ErrorCode::data_loss, "video file: {}", what);
}

class VideoFile {
 public:
  VideoFile(std::span<const std::byte> bytes, const ClipLimits& limits) : reader_{bytes} {
    auto* buffer = static_cast<unsigned char*>(av_malloc(kBufferBytes));
    if (!buffer) throw std::bad_alloc();
    io_ = owned(avio_alloc_context(buffer, kBufferBytes, 0, &reader_, read_bytes, nullptr, seek));
    AVFormatContext* format = avformat_alloc_context();
    if (!format) throw std::bad_alloc();
    format->pb = io_.get();
    format->io_open = open_nothing;
    format->format_whitelist = av_strdup(kFormats);
    format->codec_whitelist = av_strdup(kCodecs);
    // Frees `format` where it fails.
    if (avformat_open_input(&format, nullptr, nullptr, nullptr) < 0)
      fail(ErrorCode::unsupported,
           "video file: expected MP4, QuickTime, Matroska, WebM, AVI or MPEG-TS, got {} bytes that "
           "are none of them, or are damaged",
           bytes.size());
    format_.reset(format);
    if (avformat_find_stream_info(format, nullptr) < 0) damaged("its streams cannot be read");
    const AVCodec* codec = nullptr;
    stream_ = av_find_best_stream(format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (stream_ < 0 || !codec)
      fail(ErrorCode::unsupported,
           "video file: it has no stream of pictures, or one whose codec is not read here; "
           "expected H.264, HEVC, VP8, VP9, AV1 or MPEG-4");
    codec_ = owned(avcodec_alloc_context3(codec));
    if (avcodec_parameters_to_context(codec_.get(), stream().codecpar) < 0)
      damaged("its stream contradicts itself");
    codec_->thread_count = 1;
    codec_->max_pixels = limits.max_pixels;  // also of frames that grow on the way
  }

  const AVStream& stream() const { return *format_->streams[stream_]; }
  AVCodecContext& codec() const { return *codec_; }

  // Frames of the stream, counted as they lie in the file.
  int64_t count() {
    const Owned<AVPacket> packet = owned(av_packet_alloc());
    int64_t total = 0;
    while (next(*packet))
      if (++total > kMostFrames)
        fail(ErrorCode::exhausted, "video file: more than {} frames", kMostFrames);
    return total;
  }
  void rewind() {
    if (avformat_seek_file(format_.get(), stream_, INT64_MIN, 0, 0, AVSEEK_FLAG_BACKWARD) < 0 &&
        av_seek_frame(format_.get(), stream_, 0, AVSEEK_FLAG_BACKWARD) < 0)
      damaged("it cannot be read from its beginning again");
  }
  // The next packet of the stream; false at the end.
  bool next(AVPacket& packet) {
    for (;;) {
      av_packet_unref(&packet);
      if (av_read_frame(format_.get(), &packet) < 0) return false;
      if (packet.stream_index == stream_) return true;
    }
  }
  // Frames per second.
  double rate(int64_t total) const {
    const AVStream& s = stream();
    for (const AVRational& r : {s.avg_frame_rate, s.r_frame_rate})
      if (r.num > 0 && r.den > 0 && av_q2d(r) <= 1000) return av_q2d(r);
    const double seconds = static_cast<double>(format_->duration) / AV_TIME_BASE;
    return seconds > 0 ? std::clamp(static_cast<double>(total) / seconds, 1e-3, 1e3) : 25.0;
  }

 private:
  Reader reader_;
  Owned<AVIOContext> io_;
  Owned<AVFormatContext> format_;
  Owned<AVCodecContext> codec_;
  int stream_ = -1;
};

// Frames of whatever size and layout become RGB of the clip's size.
class Painter {
 public:
  Painter(int64_t width, int64_t height) : width_(width), height_(height) {}

  Image paint(const AVFrame& frame) {
    scaler_.reset(sws_getCachedContext(scaler_.release(),
                                       frame.width,
                                       frame.height,
                                       static_cast<AVPixelFormat>(frame.format),
                                       static_cast<int>(width_),
                                       static_cast<int>(height_),
                                       AV_PIX_FMT_RGB24,
                                       SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT,
                                       nullptr,
                                       nullptr,
                                       nullptr));
    if (!scaler_) damaged("a frame has a layout of pixels that is not read here");
    // Rows as the library likes them, which may write beyond a row's end.
    const int stride = static_cast<int>((width_ * 3 + 63) / 64 * 64);
    std::vector<uint8_t> rows(static_cast<size_t>(stride) * height_ + 64);
    uint8_t* targets[] = {rows.data(), nullptr, nullptr, nullptr};
    const int strides[] = {stride, 0, 0, 0};
    sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, targets, strides);
    Image image{width_, height_, std::vector<uint8_t>(static_cast<size_t>(width_ * height_ * 3))};
    for (int64_t y = 0; y < height_; ++y)
      std::copy_n(rows.data() + y * stride, width_ * 3, image.rgb.data() + y * width_ * 3);
    return image;
  }

 private:
  int64_t width_, height_;
  Owned<SwsContext> scaler_;
};

void check_size(const AVCodecContext& codec, size_t frames, const ClipLimits& limits) {
  const int64_t width = codec.width, height = codec.height;
  if (width < 1 || height < 1) damaged("its frames have no size");
  if (width > limits.max_pixels / height)
    fail(ErrorCode::exhausted,
         "video file: frames of {} x {} pixels, at most {} pixels are accepted",
         width,
         height,
         limits.max_pixels);
  const auto count = static_cast<int64_t>(frames);
  if (count > limits.max_clip_pixels / (width * height))
    fail(ErrorCode::exhausted,
         "video file: {} frames of {} x {} pixels, at most {} pixels are accepted together; take "
         "fewer by mm_processor_kwargs (fps, num_frames, max_frames), or send a smaller clip",
         count,
         width,
         height,
         limits.max_clip_pixels);
}

// Decodes frames in the order in which they are shown, and keeps those whose index is chosen.
std::vector<Image> take_frames(VideoFile& file, const std::vector<int64_t>& chosen) {
  const Owned<AVPacket> packet = owned(av_packet_alloc());
  const Owned<AVFrame> frame = owned(av_frame_alloc());
  AVCodecContext& codec = file.codec();
  Painter painter(codec.width, codec.height);
  std::vector<Image> out;
  int64_t index = 0;
  for (bool has_more = true; has_more && out.size() < chosen.size();) {
    has_more = file.next(*packet);
    // A packet that is damaged costs its frame; the next ones may be whole.
    avcodec_send_packet(&codec, has_more ? packet.get() : nullptr);
    while (out.size() < chosen.size() && avcodec_receive_frame(&codec, frame.get()) == 0) {
      for (; out.size() < chosen.size() && chosen[out.size()] == index;)
        out.push_back(painter.paint(*frame));
      ++index;
    }
  }
  return out;
}

}  // namespace

bool has_video_decoder() {
  return true;
}

Clip decode_clip(std::span<const std::byte> bytes,
                 const FrameRule& rule,
                 const ClipLimits& limits) {
  if (bytes.size() > limits.max_bytes)
    fail(ErrorCode::exhausted,
         "video file: {} bytes, at most {} are accepted",
         bytes.size(),
         limits.max_bytes);
  av_log_set_level(AV_LOG_QUIET);
  VideoFile file(bytes, limits);
  const int64_t total = file.count();
  if (total == 0) damaged("it has no frames");
  const ClipFrames chosen = sample_frames(total, file.rate(total), rule);
  check_size(file.codec(), chosen.indices.size(), limits);
  file.rewind();
  if (avcodec_open2(&file.codec(), nullptr, nullptr) < 0) damaged("its codec cannot be started");
  Clip clip{.frames = take_frames(file, chosen.indices), .fps = chosen.fps};
  if (clip.frames.empty()) damaged("none of its frames can be decoded");
  // Damage, or packets that show nothing: the last frame that there is stands for the rest.
  if (clip.frames.size() * 2 < chosen.indices.size())
    damaged("most of its frames cannot be decoded");
  while (clip.frames.size() < chosen.indices.size()) clip.frames.push_back(clip.frames.back());
  return clip;
}

}  // namespace quern

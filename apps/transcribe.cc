// SPDX-License-Identifier: Apache-2.0
// quern transcribe: recordings in, text or subtitles out.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>

#include "api/speech/transcription.h"
#include "base/error.h"
#include "base/file.h"
#include "bell.h"
#include "commands.h"
#include "exit_codes.h"
#include "loaded_model.h"
#include "weights/safetensors_writer.h"

namespace quern {
namespace {

const std::map<std::string, TranscriptFormat> kTranscriptFormats = {
    {"text", TranscriptFormat::text},
    {"json", TranscriptFormat::json},
    {"verbose_json", TranscriptFormat::verbose_json},
    {"srt", TranscriptFormat::srt},
    {"vtt", TranscriptFormat::vtt}};

struct TranscribeOptions {
  ModelOptions model;
  std::vector<std::string> files;
  TranscriptionRequest request;
  std::string format = "text", folder;
};

// One line that is written over; only where somebody looks at it.
class ProgressLine {
 public:
  explicit ProgressLine(const std::string& file)
      : file_(std::filesystem::path(file).filename()), is_seen_(isatty(STDERR_FILENO) != 0) {}
  void show(double done, double whole) const {
    if (is_seen_) std::fprintf(stderr, "\r%s: %.0f of %.0f s\x1b[K", file_.c_str(), done, whole);
  }
  ~ProgressLine() {
    if (is_seen_) std::fputs("\r\x1b[K", stderr);
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

 private:
  std::string file_;
  bool is_seen_;
};

TranscriptText transcript_of(LoadedModel& loaded,
                             const TranscribeOptions& o,
                             const std::string& file) {
  auto bell = std::make_shared<Bell>();
  TranscriptionRequest request = o.request;
  request.file = read_file(file);
  const auto transcription = make_transcription(
      loaded.service(), "transcribe", std::move(request), 0, [bell] { bell->ring(); });
  const ProgressLine progress(file);
  for (;;) {
    transcription->poll();
    if (transcription->is_finished()) return transcription->transcript();
    progress.show(transcription->seconds_done(), transcription->transcript().seconds);
    bell->wait();
  }
}

// "talk.wav" becomes "talk.srt" in the folder.
std::string output_path(const TranscribeOptions& o, const std::string& file) {
  const std::string ending = o.format == "text"           ? "txt"
                             : o.format == "verbose_json" ? "json"
                                                          : o.format;
  return (std::filesystem::path(o.folder) / std::filesystem::path(file).stem()).string() + "." +
         ending;
}

int transcribe(const TranscribeOptions& o) {
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::load(o.model);
  for (const std::string& file : o.files) {
    const TranscriptText transcript =
        with_context(file, [&] { return transcript_of(*loaded, o, file); });
    const TranscriptBody written = write_transcript(transcript, o.request.format);
    if (o.folder.empty()) {
      std::fputs(written.body.c_str(), stdout);
      std::fflush(stdout);
    } else {
      write_file_whole(output_path(o, file), written.body);
    }
  }
  return kExitDone;
}

}  // namespace

void add_transcribe_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<TranscribeOptions>();
  o->model.log_level = "warn";
  CLI::App* command = parent.add_subcommand("transcribe", "recordings in, text or subtitles out");
  add_model_options(*command, o->model);
  add_media_options(*command, o->model.media);
  command->add_option("FILE", o->files, "WAV, FLAC, Ogg or MP3")
      ->required()
      ->check(CLI::ExistingFile);
  std::vector<std::string> formats;
  for (const auto& [name, format] : kTranscriptFormats) formats.push_back(name);
  command->add_option("--format", o->format, "text, json, verbose_json, srt or vtt")
      ->capture_default_str()
      ->check(CLI::IsMember(formats));
  command->add_option(
      "--language", o->request.language, "what is spoken (en); else it is found out");
  command->add_flag("--translate", o->request.translates, "into English");
  command->add_option("--prompt", o->request.prompt, "text before the recording: names, spellings");
  command
      ->add_option("--temperature",
                   o->request.temperature,
                   "0, the default: raised where a text is not sound")
      ->check(CLI::Range(0.0, 2.0));
  command->add_option("--seed", o->request.seed, "of what is drawn at temperatures above 0");
  command
      ->add_option(
          "--output-dir", o->folder, "write a file there for each recording, not to the terminal")
      ->check(CLI::ExistingDirectory);
  command->callback([o, &exit_code] {
    o->request.format = kTranscriptFormats.at(o->format);
    exit_code = transcribe(*o);
  });
}

}  // namespace quern

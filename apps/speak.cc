// SPDX-License-Identifier: Apache-2.0
// quern speak: text in, a sound file out.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "api/speech/utterance.h"
#include "base/error.h"
#include "base/file.h"
#include "bell.h"
#include "commands.h"
#include "exit_codes.h"
#include "loaded_model.h"
#include "weights/safetensors_writer.h"

namespace quern {
namespace {

struct SpeakOptions {
  ModelOptions model;
  LoadOptions load;
  std::string text, recording, output = "speech.wav";
  SpeechRequest request;
};

std::string ending_of(const std::string& path) {
  const size_t dot = path.rfind('.');
  return dot == std::string::npos || path.find('/', dot) != std::string::npos
             ? ""
             : path.substr(dot + 1);
}

// By the file's ending; standard output gets WAV.
SpeechFormat format_of(const std::string& output) {
  if (output == "-") return SpeechFormat::wav;
  const std::string ending = ending_of(output) == "ogg" ? "opus" : ending_of(output);
  if (const auto format = speech_format_of(ending)) return *format;
  fail(ErrorCode::invalid_argument,
       "--output {}: expected a name that ends in .wav, .flac, .ogg, .opus, .mp3 or .pcm",
       output);
}

std::string text_of(const SpeakOptions& o) {
  if (o.text != "-") return o.text;
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

std::vector<float> said(Service& service, const SpeechRequest& request) {
  auto bell = std::make_shared<Bell>();
  Utterance utterance(service, "speak", request, 0, [bell] { bell->ring(); });
  std::vector<float> samples;
  while (!utterance.is_finished()) {
    utterance.poll();
    if (!utterance.has_work()) {
      bell->wait();
      continue;
    }
    const std::vector<float> fresh = utterance.work();
    samples.insert(samples.end(), fresh.begin(), fresh.end());
  }
  if (utterance.usage().cut_pieces > 0)
    std::fprintf(stderr,
                 "%lld pieces of the text did not end and were cut\n",
                 static_cast<long long>(utterance.usage().cut_pieces));
  return samples;
}

int speak(SpeakOptions& o) {
  o.request.format = format_of(o.output);
  o.request.input = text_of(o);
  if (!o.recording.empty()) o.request.recording = read_file(o.recording, size_t{32} << 20);
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::load(o.model, o.load);
  Service& service = loaded->service();
  const std::vector<float> samples = said(service, o.request);
  const int64_t rate_hz = service.speaker()->rate_hz();
  SoundWriter writer(o.request.format, rate_hz, std::ssize(samples));
  std::string file = writer.add(samples);
  file += writer.finish();
  if (o.output == "-") {
    std::fwrite(file.data(), 1, file.size(), stdout);
    return kExitDone;
  }
  write_file_whole(o.output, file);
  std::fprintf(stderr,
               "%s: %.2f s\n",
               o.output.c_str(),
               static_cast<double>(samples.size()) / static_cast<double>(rate_hz));
  return kExitDone;
}

}  // namespace

void add_speak_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<SpeakOptions>();
  o->model.log_level = "warn";
  CLI::App* command = parent.add_subcommand("speak", "text in, a sound file out");
  add_model_options(*command, o->model);
  add_voice_options(*command, o->load.voices);
  command->add_option("TEXT", o->text, "what is to be said; -: read from standard input")
      ->required();
  command->add_option("--voice", o->request.voice, "one of --voices");
  command->add_option("--ref-audio", o->recording, "instead a recording of the voice, with --ref-text")
      ->check(CLI::ExistingFile)
      ->excludes("--voice");
  command->add_option("--ref-text", o->request.transcript, "what is said in it, word for word");
  command->get_option("--ref-audio")->needs("--ref-text");
  command->get_option("--ref-text")->needs("--ref-audio");
  command
      ->add_option("--output,-o",
                   o->output,
                   "file to write: .wav, .flac, .ogg, .mp3 or .pcm; -: WAV on standard output")
      ->capture_default_str();
  command->add_option("--seed", o->request.seed, "of what is drawn (0)");
  command->add_flag("--greedy", o->request.is_greedy, "the likeliest token each time");
  command->callback([o, &exit_code] { exit_code = speak(*o); });
}

}  // namespace quern

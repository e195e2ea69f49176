// SPDX-License-Identifier: Apache-2.0
// Sources: sentence-transformers 5, models/Pooling.py, models/Transformer.py, util/file_io.
#include "weights/pooling_files.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "weights/config.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

struct Module {
  std::string type;  // "Pooling": the last word of its class
  std::string path;  // below the folder; empty: the folder itself
};

// Names inside the folder only: a list from outside must not make us open other files.
void expect_inside(const std::string& path, const std::string& list) {
  const fs::path parts(path);
  bool climbs = parts.is_absolute() || path.find('\0') != std::string::npos;
  for (const fs::path& part : parts) climbs = climbs || part == "..";
  if (climbs)
    fail(ErrorCode::data_loss, "{}: path \"{:.100}\": expected one in this folder", list, path);
}

std::vector<Module> modules_of(const std::string& list) {
  constexpr size_t kMost = 64;
  const Json json = read_json_file(list);
  if (!json.is_array() || json.size() > kMost)
    fail(ErrorCode::data_loss, "{}: expected an array of at most {} modules", list, kMost);
  std::vector<Module> out;
  for (const Json& entry : json) {
    const auto text = [&](const char* key) {
      const auto it = entry.is_object() ? entry.find(key) : entry.end();
      if (!entry.is_object() || it == entry.end() || !it->is_string())
        fail(ErrorCode::data_loss, "{}: each module needs a string under \"{}\"", list, key);
      return it->get<std::string>();
    };
    const std::string type = text("type");
    out.push_back({type.substr(type.rfind('.') + 1), text("path")});
    expect_inside(out.back().path, list);
  }
  return out;
}

struct Mode {
  const char* key;    // pooling_mode_KEY of the older files
  const char* newer;  // what newer ones say under "pooling_mode"
  const char* type;   // null: not done here
};
constexpr Mode kModes[] = {{"cls_token", "cls", "CLS"},
                           {"mean_tokens", "mean", "MEAN"},
                           {"lasttoken", "lasttoken", "LAST"},
                           {"max_tokens", "max", nullptr},
                           {"mean_sqrt_len_tokens", "mean_sqrt_len_tokens", nullptr},
                           {"weightedmean_tokens", "weightedmean", nullptr}};

std::string served(const Config& config, const Mode& mode) {
  if (mode.type != nullptr) return mode.type;
  fail(ErrorCode::unsupported,
       "{}: pooling by {} is not done here: this build has cls, mean and lasttoken",
       config.path(),
       mode.newer);
}

std::string type_of(const Config& config) {
  if (config.has("pooling_mode")) {
    const std::string name = config.string("pooling_mode");
    for (const Mode& mode : kModes)
      if (name == mode.newer || name == mode.key) return served(config, mode);
    fail(ErrorCode::unsupported, "{}: pooling_mode: {:.60} is not known", config.path(), name);
  }
  const Mode* found = nullptr;
  for (const Mode& mode : kModes) {
    if (!config.boolean_or(std::string("pooling_mode_") + mode.key, false)) continue;
    if (found != nullptr)
      fail(ErrorCode::unsupported,
           "{}: both {} and {}: several vectors side by side are not made here",
           config.path(),
           found->newer,
           mode.newer);
    found = &mode;
  }
  if (found == nullptr) fail(ErrorCode::data_loss, "{}: states no pooling_mode", config.path());
  return served(config, *found);
}

// Of the tokenizer's side, in the folder itself.
void read_text_side(const std::string& folder, StatedPooling& out) {
  const std::string path = folder + "/sentence_bert_config.json";
  if (!file_exists(path)) return;
  const Config config = Config::read(path);
  out.max_tokens = config.integer_or("max_seq_length", 0);
  if (config.boolean_or("do_lower_case", false))
    fail(ErrorCode::unsupported, "{}: do_lower_case: texts are taken as they come here", path);
}

}  // namespace

std::optional<StatedPooling> read_stated_pooling(const std::string& folder) {
  const std::string list = folder + "/modules.json";
  if (!file_exists(list)) return std::nullopt;
  const std::vector<Module> modules = modules_of(list);
  const auto is_of = [](const char* type) {
    return [type](const Module& module) { return module.type == type; };
  };
  if (std::ranges::none_of(modules, is_of("Pooling"))) return std::nullopt;
  constexpr const char* kOrder[] = {"Transformer", "Pooling", "Normalize"};
  for (size_t i = 0; i < modules.size(); ++i) {
    if (i < std::size(kOrder) && modules[i].type == kOrder[i]) continue;
    fail(ErrorCode::unsupported,
         "{}: module {}, {:.60}: this build does Transformer, Pooling and Normalize, in this order",
         list,
         i,
         modules[i].type);
  }
  if (!modules[0].path.empty())
    fail(ErrorCode::unsupported,
         "{}: the Transformer lies under {:.60}: expected the folder itself",
         list,
         modules[0].path);
  const Config config = Config::read(format("{}/{}/config.json", folder, modules[1].path));
  StatedPooling out;
  out.type = type_of(config);
  out.size = config.integer_or("word_embedding_dimension", 0);
  out.normalizes = modules.size() > 2;
  read_text_side(folder, out);
  return out;
}

}  // namespace quern

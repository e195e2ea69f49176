// SPDX-License-Identifier: Apache-2.0
#include "hub/file_choice.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kSmallBytes = 1 << 20;

constexpr std::string_view kNotRead = "quern does not read it";
constexpr std::string_view kNotAsked = "not asked for";
constexpr std::string_view kExcluded = "excluded";
constexpr std::string_view kTwice = "the same weights in another form";
constexpr std::string_view kOtherModel = "another GGUF model";

// Beside *.json, which also covers the index of split weights.
constexpr std::array<std::string_view, 6> kReadEndings = {
    ".json", ".jinja", ".safetensors", ".tiktoken", "tokenizer.model", "merges.txt"};

bool any_matches(const std::string& path, const std::vector<std::string>& patterns) {
  return std::ranges::any_of(patterns,
                             [&](const std::string& glob) { return matches_glob(path, glob); });
}

bool is_gguf(const RepoFile& file) {
  return file.path.ends_with(".gguf");
}

// What all parts of one GGUF model have in common: "a/m-00001-of-00003.gguf" -> "a/m".
std::string gguf_model_of(const std::string& path) {
  std::string stem = path.substr(0, path.size() - std::string_view(".gguf").size());
  const size_t of = stem.rfind("-of-");
  const bool is_part = of != std::string::npos && of >= 6 && stem.size() == of + 9 &&
                       stem[of - 6] == '-' &&
                       std::all_of(stem.begin() + static_cast<std::ptrdiff_t>(of) - 5,
                                   stem.begin() + static_cast<std::ptrdiff_t>(of),
                                   [](unsigned char c) { return std::isdigit(c) != 0; });
  if (is_part) stem.resize(of - 6);
  return stem;
}

std::string lower(std::string text) {
  std::ranges::transform(
      text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// `part` stands in `text` as a word: Q4_K_M in "m-Q4_K_M", but Q4_K not in it.
bool has_word(const std::string& text, const std::string& part) {
  const auto is_inner = [&](size_t at) {
    return at < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[at])) != 0 || text[at] == '_');
  };
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    if ((at == 0 || !is_inner(at - 1)) && !is_inner(at + part.size())) return true;
  return false;
}

// By model: names and sizes. Projectors (mmproj) are no model by themselves.
std::map<std::string, int64_t> gguf_models(const RepoListing& listing) {
  std::map<std::string, int64_t> out;
  for (const RepoFile& file : listing.files)
    if (is_gguf(file) && !last_part(file.path).starts_with("mmproj"))
      out[gguf_model_of(file.path)] += std::max<int64_t>(file.size_bytes, 0);
  return out;
}

std::string list_of(const std::map<std::string, int64_t>& models) {
  std::string out;
  for (const auto& [name, bytes] : models)
    out += format("\n  {}.gguf  {:.2f} GB", name, static_cast<double>(bytes) * 1e-9);
  return out;
}

// The model that `wish` names: by its whole name first, then by a word of it.
std::string chosen_gguf(const std::map<std::string, int64_t>& models, const std::string& wish) {
  const std::string wanted = lower(wish.ends_with(".gguf") ? gguf_model_of(wish) : wish);
  std::map<std::string, int64_t> found;
  for (const auto& [name, bytes] : models)
    if (lower(name) == wanted || lower(last_part(name)) == wanted) return name;
  for (const auto& [name, bytes] : models)
    if (wanted.empty() || has_word(lower(name), wanted)) found[name] = bytes;
  if (found.size() == 1) return found.begin()->first;
  if (models.empty()) fail(ErrorCode::not_found, "--gguf {}: this model has no GGUF files", wish);
  fail(wanted.empty() ? ErrorCode::invalid_argument : ErrorCode::not_found,
       "{} of {} GGUF models match; name one by --gguf NAME:{}",
       found.size(),
       models.size(),
       list_of(found.empty() ? models : found));
}

bool has_safetensors(const RepoListing& listing) {
  return std::ranges::any_of(listing.files, [](const RepoFile& file) {
    return file.path.ends_with(".safetensors") && file.path.find('/') == std::string::npos;
  });
}

// Mistral keeps its weights a second time as consolidated*.safetensors; others keep variants
// (model.fp16.safetensors) beside the model.
bool is_second_form(const RepoFile& file, const std::set<std::string>& paths) {
  if (!file.path.ends_with(".safetensors")) return false;
  const bool has_model =
      paths.contains("model.safetensors") || paths.contains("model.safetensors.index.json");
  if (!has_model) return false;
  return file.path.starts_with("consolidated") ||
         (paths.contains("model.safetensors") && file.path.starts_with("model.") &&
          file.path != "model.safetensors");
}

// Empty if quern reads the file.
std::string_view why_not_read(const RepoFile& file, const std::set<std::string>& paths) {
  // How hidden states become embeddings, in the layout of sentence-transformers.
  const bool is_pooling = file.path.ends_with("_Pooling/config.json");
  const bool is_deeper = file.path.find('/') != std::string::npos && !is_pooling;
  const bool is_read =
      std::ranges::any_of(kReadEndings, [&](auto end) { return file.path.ends_with(end); });
  const bool is_licence = file.path.starts_with("LICENSE") || file.path.starts_with("NOTICE");
  if (is_deeper || !(is_read || is_licence)) return kNotRead;
  return is_second_form(file, paths) ? kTwice : std::string_view();
}

class Chooser {
 public:
  Chooser(const RepoListing& listing, const FileWish& wish) : wish_(wish) {
    for (const RepoFile& file : listing.files) paths_.insert(file.path);
    // A model in safetensors is taken as it is, even if GGUF files lie beside it.
    const bool is_gguf_wanted =
        !wish.gguf.empty() || (wish.include.empty() && !has_safetensors(listing));
    if (is_gguf_wanted) model_ = chosen_gguf(gguf_models(listing), wish.gguf);
  }

  // Empty if the file is wanted.
  std::string_view why_not(const RepoFile& file) const {
    if (any_matches(file.path, wish_.exclude)) return kExcluded;
    if (any_matches(file.path, wish_.include)) return {};
    if (!model_.empty() && is_gguf(file))
      return gguf_model_of(file.path) == model_ ? std::string_view() : kOtherModel;
    if (!wish_.include.empty()) return kNotAsked;
    return model_.empty() ? why_not_read(file, paths_) : kNotRead;
  }

 private:
  const FileWish& wish_;
  std::set<std::string> paths_;
  std::string model_;  // the GGUF model that is wanted; empty: none
};

// Small files first, since they say soonest that something is wrong; then the largest, so that the
// last to end is not the longest.
bool goes_before(const RepoFile& a, const RepoFile& b) {
  const bool is_small_a = a.size_bytes < kSmallBytes, is_small_b = b.size_bytes < kSmallBytes;
  if (is_small_a != is_small_b) return is_small_a;
  return !is_small_a && a.size_bytes > b.size_bytes;
}

}  // namespace

bool matches_glob(const std::string& path, const std::string& pattern) {
  const std::string glob = pattern.ends_with('/') ? pattern + "*" : pattern;
  return fnmatch(glob.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
}

FileChoice choose_files(const RepoListing& listing, const FileWish& wish) {
  const Chooser chooser(listing, wish);
  FileChoice out;
  for (const RepoFile& file : listing.files) {
    const std::string_view why = chooser.why_not(file);
    if (why.empty())
      out.wanted.push_back(file);
    else
      out.skipped.push_back({file, why});
  }
  if (out.wanted.empty())
    fail(ErrorCode::not_found,
         "none of the model's {} files is wanted; --include PATTERN takes others",
         listing.files.size());
  std::ranges::stable_sort(out.wanted, goes_before);
  return out;
}

}  // namespace quern

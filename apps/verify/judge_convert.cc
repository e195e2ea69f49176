// SPDX-License-Identifier: Apache-2.0
// Conversion cases: files of another tool, converted as `quern convert` does it, against the stored
// tensors.
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "quantize/import_weights.h"
#include "verify/judges.h"
#include "weights/safetensors.h"

namespace quern {
namespace {

// Removed with what is in it.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_((std::filesystem::temp_directory_path() / "quern-verify-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr)
      fail(ErrorCode::unavailable, "{}: this folder cannot be made", path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A safetensors file under its names as stored: a checkpoint would rename some.
class StoredTensors {
 public:
  explicit StoredTensors(const std::string& path) : file_(path) {
    for (SafetensorsEntry& entry : parse_safetensors_header(file_.bytes(), path).entries)
      entries_.emplace(entry.name, entry);
  }

  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }

  // What of the tensor `name` is not as in `entry` of `other`; empty: nothing.
  std::string difference(const std::string& name,
                         const StoredTensors& other,
                         const SafetensorsEntry& entry) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return name + ": missing";
    const SafetensorsEntry& mine = found->second;
    if (mine.stored != entry.stored || !(mine.shape == entry.shape))
      return format("{}: expected {} {}, got {} {}",
                    name,
                    name_of(entry.stored),
                    entry.shape.text(),
                    name_of(mine.stored),
                    mine.shape.text());
    const auto a = bytes(mine), b = other.bytes(entry);
    return std::memcmp(a.data(), b.data(), a.size()) == 0 ? "" : name + ": other bytes";
  }

 private:
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const {
    return file_.bytes().subspan(entry.begin, entry.end - entry.begin);
  }

  MappedFile file_;
  std::map<std::string, SafetensorsEntry> entries_;
};

void judge_run(const GoldenCase& golden,
               const StoredTensors& expected,
               const Json& run,
               Report& report) {
  const auto name = run.at("name").get<std::string>();
  const TemporaryFolder folder;
  const std::string converted = folder.path() + "/converted.safetensors";
  const ImportReport made =
      import_weights({golden.file(run.at("file").get<std::string>()), converted});
  const StoredTensors got(converted);
  RowCounter tensors;
  std::set<std::string> wanted;
  for (const auto& [stored, entry] : expected.entries()) {
    if (!stored.starts_with(name + ".")) continue;
    const std::string bare = stored.substr(name.size() + 1);
    wanted.insert(bare);
    const std::string difference = got.difference(bare, expected, entry);
    tensors.compare(difference.empty(), difference);
  }
  for (const auto& [bare, entry] : got.entries())
    if (!wanted.contains(bare)) tensors.compare(false, bare + ": not in the reference");
  tensors.report_to(report, name);
  const auto count = run.at("tensors").get<size_t>();
  report.add_exact(name + ".tensors",
                   1,
                   made.tensors != count || got.entries().size() != count,
                   format("expected {}, converted {}", count, made.tensors));
}

}  // namespace

void judge_convert(const GoldenCase& golden, Report& report) {
  static const std::set<std::string, std::less<>> kKnownKeys = {"name", "file", "tensors"};
  const StoredTensors expected(golden.file("expected.safetensors"));
  std::set<std::string> unknown;
  for (const auto& [name, entry] : expected.entries()) unknown.insert(name);
  for (const Json& run : golden.expected().at("runs")) {
    const auto name = run.at("name").get<std::string>();
    std::erase_if(unknown, [&](const std::string& field) { return field.starts_with(name + "."); });
    for (const auto& [key, value] : run.items())
      if (!kKnownKeys.contains(key)) unknown.insert(name + ": " + key);
    judge_field(report, name, [&] { judge_run(golden, expected, run, report); });
  }
  for (const std::string& field : unknown) report.add({.field = field, .note = "unknown field"});
}

}  // namespace quern

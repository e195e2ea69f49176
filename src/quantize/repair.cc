// SPDX-License-Identifier: Apache-2.0
#include "quantize/repair.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "quantize/proof.h"
#include "quantize/source_folder.h"
#include "weights/safetensors_writer.h"
#include "weights/stored.h"
#include "weights/tensor_names.h"

namespace quern {
namespace {

constexpr int64_t kMaxIntermediate = 1 << 24;

const PaddingRule* rule_of(const Certificate& c, std::string_view stored_name) {
  const auto it = c.rules.find(canonical_name(stored_name));
  return it == c.rules.end() ? nullptr : &it->second;
}

bool is_changed(const Certificate& c, const WeightFile& file) {
  return std::ranges::any_of(file.header.entries, [&](const SafetensorsEntry& e) {
    return rule_of(c, e.name) != nullptr;
  });
}

// The entries of a weight file after padding.
std::vector<SafetensorsEntry> padded_entries(const Certificate& c, const WeightFile& file) {
  std::vector<SafetensorsEntry> entries = file.header.entries;
  for (SafetensorsEntry& e : entries)
    if (const PaddingRule* rule = rule_of(c, e.name))
      e.shape = shape_after({e.name, e.stored, e.shape, {}}, *rule, c.runs);
  return entries;
}

int64_t data_bytes(std::span<const SafetensorsEntry> entries) {
  int64_t bytes = 0;
  for (const SafetensorsEntry& e : entries) bytes += stored_bytes(e.stored, e.shape, e.name);
  return bytes;
}

void write_padded(const Certificate& c, const WeightFile& file, const std::string& path) {
  FileWriter out(path);
  const std::string header = safetensors_header(padded_entries(c, file), file.header.metadata);
  out.write(std::as_bytes(std::span(header)));
  const auto write = [&](std::span<const std::byte> bytes) { out.write(bytes); };
  for (const SafetensorsEntry& e : file.header.entries) {
    if (const PaddingRule* rule = rule_of(c, e.name))
      pad_tensor({e.name, e.stored, e.shape, {}}, file.bytes(e), *rule, c.runs, write);
    else
      write(file.bytes(e));
    file.file.give_back(e.begin, e.end);
  }
  out.finish();
}

std::string padded_config(const SourceFolder& source, const Certificate& c) {
  Json config = parse_json(source.config_text, "config.json");
  change_size(config, "intermediate_size", c.intermediate, c.padded);
  return config.dump(2) + "\n";
}

std::string padded_index(const SourceFolder& source, const Certificate& c) {
  Json index =
      parse_json(source.index_text, kIndexFile, {.max_bytes = size_t{256} << 20, .max_depth = 16});
  int64_t bytes = 0;
  for (const WeightFile& file : source.weights) bytes += data_bytes(padded_entries(c, file));
  index["metadata"]["total_size"] = bytes;
  return index.dump(2) + "\n";
}

FileMark mark_of_text(const std::string& text) {
  return {static_cast<int64_t>(text.size()), hash_bytes(std::as_bytes(std::span(text))).hex()};
}

Certificate planned(const RepairRequest& request, const SourceFolder& source) {
  MlpRules rules = mlp_rules(*source.checkpoint);
  Certificate c;
  c.tool = request.tool;
  c.source = request.model;
  c.intermediate = rules.intermediate;
  c.granule = rules.granule;
  c.modules = rules.modules;
  c.padded = padded_size(request, rules.intermediate, rules.granule);
  c.is_interleaved = request.is_interleaved;
  c.rules = std::move(rules.rules);
  c.runs = tail_runs(c.intermediate, c.padded);
  if (!request.is_interleaved) return c;
  if (rules.only_tail)
    fail(
        ErrorCode::unsupported, "--layout interleaved: {}: use --layout tail", rules.why_only_tail);
  if (request.degrees.empty())
    fail(ErrorCode::invalid_argument,
         "--layout interleaved: the number of parts is that of the ranks: give --for-tp");
  int64_t parts = 1;
  for (const int64_t degree : request.degrees) parts = std::lcm(parts, degree);
  if (c.intermediate % c.granule != 0)
    fail(ErrorCode::unsupported,
         "--layout interleaved: {} channels are no multiple of {}: use --layout tail",
         c.intermediate,
         c.granule);
  c.runs = interleaved_runs(c.intermediate, c.padded, c.granule, static_cast<int>(parts));
  return c;
}

std::string key_of(const SourceFolder& source, const Certificate& c, std::string_view operation) {
  return format("{} {} {} {} {} {}",
                operation,
                c.tool,
                source.identity(),
                c.padded,
                c.is_interleaved ? c.runs.size() : 0,
                c.granule);
}

void write_weights(const SourceFolder& source, Certificate& c, Staging& staging) {
  int64_t needed = 0;
  for (const WeightFile& file : source.weights)
    if (!staging.is_finished(file.name)) needed += data_bytes(padded_entries(c, file));
  staging.expect_room(needed + (int64_t{16} << 20));
  for (const WeightFile& file : source.weights) {
    const std::string from = source.path + "/" + file.name, to = staging.folder() + "/" + file.name;
    if (staging.is_finished(file.name)) {
      log(LogLevel::info, "{}: finished by an earlier run: kept", file.name);
    } else {
      if (is_changed(c, file))
        write_padded(c, file, to);
      else
        carry_file(from, to);
      staging.set_finished(file.name);
      log(LogLevel::info, "{}: written", file.name);
    }
    const FileMark after = staging.finished().at(file.name);
    if (is_changed(c, file)) {
      c.files[file.name] = {mark_of(from), after};
      c.originals[file.name] = file.header_text.substr(8);
    } else {
      c.carried[file.name] = after;
    }
  }
}

// What fails its proof is not kept: going on with it would fail again.
void prove(const RepairRequest& request,
           const SourceFolder& source,
           Certificate& c,
           Staging& staging) {
  try {
    prove_tensors(source, *open_checkpoint(staging.folder()), c);
    if (request.checks_logits)
      prove_logits(request.model, staging.folder(), c);
    else
      c.findings["logits"] = "NOT COMPARED: not asked for";
  } catch (const Error& e) {
    if (e.code() == ErrorCode::data_loss) staging.discard();
    throw;
  }
}

// A file of text that the repair changes.
void write_text(Certificate& c,
                const Staging& staging,
                std::string_view name,
                const std::string& before,
                const std::string& after) {
  write_file_whole(format("{}/{}", staging.folder(), name), after);
  c.files[std::string(name)] = {mark_of_text(before), mark_of_text(after)};
  c.originals[std::string(name)] = before;
}

void carry_others(const SourceFolder& source, Certificate& c, const Staging& staging) {
  for (const std::string& name : source.others) {
    const std::string to = staging.folder() + "/" + name;
    std::error_code ignored;
    std::filesystem::remove(to, ignored);
    carry_file(source.path + "/" + name, to);
    c.carried[name] = mark_of(to);
  }
}

void expect_hash(const std::string& folder, const std::string& name, const FileMark& expected) {
  const std::string path = folder + "/" + name;
  if (mark_of(path) == expected) return;
  fail(ErrorCode::data_loss,
       "{}: is not the file that the certificate names: it was changed since",
       path);
}

void restore_weights(const std::string& repaired,
                     const Certificate& c,
                     const std::string& name,
                     const std::string& path) {
  const WeightFile file = open_weight_file(repaired, name);
  const std::string& text = c.originals.at(name);
  const std::vector<SafetensorsEntry> entries = parse_safetensors_entries(text, path);
  FileWriter out(path);
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  out.write(std::as_bytes(std::span(length)));
  out.write(std::as_bytes(std::span(text)));
  if (entries.size() != file.header.entries.size())
    fail(ErrorCode::data_loss, "{}: the certificate names other tensors", name);
  for (size_t i = 0; i < entries.size(); ++i) {
    const SafetensorsEntry &e = entries[i], &stored = file.header.entries[i];
    const PaddingRule* rule = rule_of(c, e.name);
    const TensorInfo original{e.name, e.stored, e.shape, {}};
    const Shape shape = rule == nullptr ? e.shape : shape_after(original, *rule, c.runs);
    if (e.name != stored.name || e.stored != stored.stored || !(shape == stored.shape))
      fail(ErrorCode::data_loss, "{}: {}: the certificate says otherwise", name, stored.name);
    const auto write = [&](std::span<const std::byte> bytes) { out.write(bytes); };
    if (rule == nullptr)
      write(file.bytes(stored));
    else
      unpad_tensor(original, file.bytes(stored), *rule, c.runs, write);
  }
  out.finish();
}

// Names from a certificate stay inside the folder.
void expect_inside(const std::string& name) {
  const std::filesystem::path path(name);
  if (name.empty() || path.is_absolute() ||
      std::ranges::any_of(path, [](const auto& part) { return part == ".."; }))
    fail(ErrorCode::data_loss, "{}: a file name that leads out of the folder", name);
}

void restore(const std::string& repaired, const Certificate& c, const Staging& staging) {
  for (const auto& [name, pair] : c.files) {
    expect_inside(name);
    expect_hash(repaired, name, pair.after);
    const auto original = c.originals.find(name);
    if (original == c.originals.end())
      fail(ErrorCode::data_loss, "{}: the certificate lacks its original", name);
    const std::string to = staging.folder() + "/" + name;
    if (name.ends_with(".safetensors"))
      restore_weights(repaired, c, name, to);
    else
      write_file_whole(to, original->second);
    expect_hash(staging.folder(), name, pair.before);
  }
  for (const auto& [name, mark] : c.carried) {
    expect_inside(name);
    carry_file(repaired + "/" + name, staging.folder() + "/" + name);
    expect_hash(staging.folder(), name, mark);
  }
}

}  // namespace

int64_t padded_size(const RepairRequest& request, int64_t intermediate, int64_t granule) {
  if ((request.multiple > 0) == !request.degrees.empty())
    fail(ErrorCode::invalid_argument,
         "expected either --intermediate-multiple N or --for-tp 2,4,8: which size is wanted?");
  int64_t multiple = granule;
  if (request.multiple > 0) multiple = std::lcm(granule, request.multiple);
  int64_t ranks = 1;
  for (const int64_t degree : request.degrees) {
    if (degree < 1 || degree > 1024)
      fail(ErrorCode::invalid_argument, "--for-tp: {}: expected 1 to 1024 ranks", degree);
    ranks = std::lcm(ranks, degree);
    if (ranks > kMaxIntermediate) break;
  }
  if (multiple > kMaxIntermediate || ranks > kMaxIntermediate / multiple)
    fail(ErrorCode::invalid_argument, "the size asked for is beyond {}", kMaxIntermediate);
  multiple *= ranks;
  return (intermediate + multiple - 1) / multiple * multiple;
}

Certificate repair(const RepairRequest& request) {
  const SourceFolder source(request.model);
  if (file_exists(request.model + "/" + std::string(kCertificateFile)))
    fail(ErrorCode::invalid_argument,
         "{}: was repaired already: repair the original; --undo gives it back",
         request.model);
  Certificate c = planned(request, source);
  if (c.padded == c.intermediate)
    fail(ErrorCode::invalid_argument,
         "{}: intermediate_size {} is such a multiple already: nothing to repair",
         request.model,
         c.intermediate);
  Staging staging(request.out, key_of(source, c, "pad"));
  write_weights(source, c, staging);
  write_text(c, staging, kConfigFile, source.config_text, padded_config(source, c));
  if (!source.index_text.empty())
    write_text(c, staging, kIndexFile, source.index_text, padded_index(source, c));
  carry_others(source, c, staging);
  prove(request, source, c, staging);
  write_file_whole(staging.folder() + "/" + std::string(kCertificateFile), c.text());
  staging.publish();
  return c;
}

Certificate verify_repair(const std::string& repaired,
                          const std::string& model,
                          bool checks_logits) {
  Certificate c = Certificate::read(repaired + "/" + std::string(kCertificateFile));
  const SourceFolder source(model);
  for (const auto& [name, pair] : c.files) {
    expect_inside(name);
    expect_hash(repaired, name, pair.after);
    expect_hash(model, name, pair.before);
  }
  c.findings.clear();
  c.rules = mlp_rules(*source.checkpoint).rules;  // of the source, whatever the certificate says
  prove_tensors(source, *open_checkpoint(repaired), c);
  if (checks_logits) prove_logits(model, repaired, c);
  return c;
}

Certificate undo_repair(const std::string& repaired, const std::string& out) {
  Certificate c = Certificate::read(repaired + "/" + std::string(kCertificateFile));
  int64_t bytes = 0;
  for (const auto& [name, pair] : c.files) bytes += pair.before.bytes;
  Staging staging(out, "undo " + mark_of(repaired + "/" + std::string(kCertificateFile)).hash);
  staging.expect_room(bytes);
  with_context(repaired, [&] { restore(repaired, c, staging); });
  staging.publish();
  return c;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "quantize/certificate.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {
namespace {

using Kind = GroupIndexPadding::Kind;
constexpr int kVersion = 1;
constexpr int64_t kMaxChannels = 1 << 26;

Json json_of(const FileMark& mark) {
  return {{"bytes", mark.bytes}, {"xxh3", mark.hash}};
}

FileMark mark_from(const Json& json) {
  return {json.at("bytes").get<int64_t>(), json.at("xxh3").get<std::string>()};
}

Json json_of(const PaddingRule& rule) {
  if (const auto* axis = std::get_if<AxisPadding>(&rule.how))
    return {{"axis", axis->axis},
            {"entries", axis->entries},
            {"channels", axis->channels},
            {"halves", axis->halves},
            {"tail", rule.is_tail}};
  if (const auto* index = std::get_if<GroupIndexPadding>(&rule.how))
    return {{"groups", index->groups},
            {"group_size", index->group_size},
            {"kind", static_cast<int>(index->kind)}};
  const auto& shape = std::get<ShapePadding>(rule.how);
  return {{"shape_axis", shape.axis}, {"halves", shape.halves}};
}

// A number of the certificate that sizes follow from.
int64_t bounded(const Json& json, const char* key, int64_t least, int64_t most) {
  const auto value = json.at(key).get<int64_t>();
  if (value < least || value > most)
    fail(ErrorCode::data_loss, "{}: {} is not within {} to {}", key, value, least, most);
  return value;
}

PaddingRule rule_from(const Json& json) {
  if (json.contains("axis"))
    return {AxisPadding{.axis = static_cast<int>(bounded(json, "axis", 0, 1)),
                        .entries = bounded(json, "entries", 1, kMaxChannels),
                        .channels = bounded(json, "channels", 1, kMaxChannels),
                        .halves = static_cast<int>(bounded(json, "halves", 1, 2)),
                        .fill = {0},
                        .fill_axis = 0},
            json.at("tail").get<bool>()};
  if (json.contains("groups"))
    return {GroupIndexPadding{bounded(json, "groups", 1, kMaxChannels),
                              bounded(json, "group_size", 1, kMaxChannels),
                              static_cast<Kind>(bounded(json, "kind", 0, 2))},
            false};
  return {ShapePadding{static_cast<int>(bounded(json, "shape_axis", 0, 1)),
                       static_cast<int>(bounded(json, "halves", 1, 2))},
          false};
}

Runs runs_from(const Json& json) {
  Runs runs;
  for (const Json& run : json)
    runs.push_back({bounded(run, "channels", 1, kMaxChannels), run.at("added").get<bool>()});
  if (runs.empty() || runs.size() > 4096 || all_channels(runs) > kMaxChannels)
    fail(ErrorCode::data_loss, "runs: expected 1 to 4096 of at most {} channels", kMaxChannels);
  return runs;
}

Certificate from_json(const Json& json) {
  if (bounded(json, "quern_repair", 1, 1 << 20) != kVersion)
    fail(ErrorCode::unsupported, "written by a newer quern: use that one");
  Certificate c;
  c.tool = json.at("tool").get<std::string>();
  c.source = json.at("source").get<std::string>();
  const Json& settings = json.at("settings");
  c.intermediate = bounded(settings, "intermediate_size", 1, kMaxChannels);
  c.padded = bounded(settings, "padded_size", 1, kMaxChannels);
  c.granule = bounded(settings, "granule", 1, kMaxChannels);
  c.modules = bounded(settings, "modules", 1, kMaxChannels);
  c.is_interleaved = settings.at("layout") == "interleaved";
  for (const auto& [key, value] : json.at("proof").items())
    c.findings[key] = value.get<std::string>();
  for (const auto& [file, pair] : json.at("changed_files").items())
    c.files[file] = {mark_from(pair.at("before")), mark_from(pair.at("after"))};
  for (const auto& [file, mark] : json.at("carried_files").items())
    c.carried[file] = mark_from(mark);
  const Json& undo = json.at("undo");
  c.runs = runs_from(undo.at("runs"));
  for (const auto& [name, rule] : undo.at("tensors").items()) c.rules[name] = rule_from(rule);
  for (const auto& [file, text] : undo.at("originals").items())
    c.originals[file] = text.get<std::string>();
  if (kept_channels(c.runs) != c.intermediate || all_channels(c.runs) != c.padded)
    fail(ErrorCode::data_loss, "runs and sizes contradict each other");
  return c;
}

}  // namespace

std::string Certificate::text() const {
  // Objects of Json look keys up by a linear search: names of many tensors are gathered in a list.
  Json::object_t tensors, changed, carried_files, texts;
  for (const auto& [name, rule] : rules) tensors.push_back({name, json_of(rule)});
  for (const auto& [file, pair] : files)
    changed.push_back(
        {file, Json{{"before", json_of(pair.before)}, {"after", json_of(pair.after)}}});
  for (const auto& [file, mark] : carried) carried_files.push_back({file, json_of(mark)});
  for (const auto& [file, original] : originals) texts.push_back({file, original});
  Json run_list = Json::array();
  for (const Run& run : runs)
    run_list.push_back({{"channels", run.count}, {"added", run.is_added}});
  Json proof = Json::object();
  for (const auto& [key, value] : findings) proof[key] = value;
  const Json json{{"quern_repair", kVersion},
                  {"tool", tool},
                  {"source", source},
                  {"settings",
                   {{"intermediate_size", intermediate},
                    {"padded_size", padded},
                    {"granule", granule},
                    {"modules", modules},
                    {"layout", is_interleaved ? "interleaved" : "tail"}}},
                  {"proof", std::move(proof)},
                  {"changed_files", Json(std::move(changed))},
                  {"carried_files", Json(std::move(carried_files))},
                  {"undo",
                   {{"runs", std::move(run_list)},
                    {"tensors", Json(std::move(tensors))},
                    {"originals", Json(std::move(texts))}}}};
  return json.dump(1) + "\n";
}

Certificate Certificate::read(const std::string& path) {
  const Json json = read_json_file(path, {.max_bytes = size_t{512} << 20, .max_depth = 16});
  try {
    return from_json(json);
  } catch (Error& e) {
    throw e.with_context(path);
  } catch (const std::exception& e) {
    fail(ErrorCode::data_loss, "{}: is no certificate of quern repair: {}", path, e.what());
  }
}

}  // namespace quern

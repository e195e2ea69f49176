// SPDX-License-Identifier: Apache-2.0
// The parts of tokenizer.json around the model: normalizer, pre_tokenizer, post_processor, decoder.
// Their meaning is that of the `tokenizers` library; a type that is not here is an error, never
// skipped.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/tokenizer/json_fields.h"
#include "text/tokenizer/tokenizer_parts.h"

namespace quern {
namespace {

constexpr size_t kMaxSteps = 64;
constexpr size_t kMaxContentBytes = 4096;

std::string type_of(const Json& json) {
  return string_field(json, "type");
}

[[noreturn]] void fail_unknown(std::string_view part, std::string_view type) {
  fail(ErrorCode::unsupported, "{}: type '{:.60}' is not supported", part, type);
}

std::string content_field(const Json& json, std::string_view key) {
  std::string content = string_field(json, key);
  if (content.size() > kMaxContentBytes)
    fail(ErrorCode::data_loss,
         "'{}': {} bytes, the limit is {}",
         key,
         content.size(),
         kMaxContentBytes);
  return content;
}

// {"String": "…"} or {"Regex": "…"}.
struct Pattern {
  std::string text;
  bool is_regex = false;
};

Pattern pattern_field(const Json& json) {
  const Json* pattern = find_field(json, "pattern");
  if (!pattern) fail(ErrorCode::data_loss, "{}: 'pattern' is missing", type_of(json));
  const bool is_regex = find_field(*pattern, "Regex") != nullptr;
  Pattern out{string_field(*pattern, is_regex ? "Regex" : "String"), is_regex};
  if (out.text.empty())
    fail(ErrorCode::data_loss, "{}: 'pattern' is neither a String nor a Regex", type_of(json));
  return out;
}

NormalizeStep replace_step(const Json& json) {
  NormalizeStep step;
  Pattern pattern = pattern_field(json);
  step.content = content_field(json, "content");
  step.kind =
      pattern.is_regex ? NormalizeStep::Kind::replace_regex : NormalizeStep::Kind::replace_literal;
  if (pattern.is_regex)
    step.regex.emplace(std::move(pattern.text));
  else
    step.pattern = std::move(pattern.text);
  return step;
}

NormalizeStep normalize_step(const Json& json) {
  using Kind = NormalizeStep::Kind;
  static constexpr std::pair<std::string_view, NormalForm> kForms[] = {{"NFC", NormalForm::nfc},
                                                                       {"NFD", NormalForm::nfd},
                                                                       {"NFKC", NormalForm::nfkc},
                                                                       {"NFKD", NormalForm::nfkd}};
  const std::string type = type_of(json);
  NormalizeStep step;
  for (const auto& [name, form] : kForms) {
    if (type != name) continue;
    step.form = form;
    return step;
  }
  if (type == "Replace") return replace_step(json);
  if (type == "Lowercase") {
    step.kind = Kind::lowercase;
  } else if (type == "StripAccents") {
    step.kind = Kind::strip_accents;
  } else if (type == "Strip") {
    step.kind = Kind::strip;
    step.strips_left = bool_field(json, "strip_left", true);
    step.strips_right = bool_field(json, "strip_right", true);
  } else if (type == "Prepend") {
    step.kind = Kind::prepend;
    step.content = content_field(json, "prepend");
  } else {
    fail_unknown("normalizer", type);
  }
  return step;
}

// Calls `visit` for each component in order, going into sequences. `list` is the key of a
// sequence's parts.
template <typename Visit>
void visit_components(const Json& json, std::string_view list, size_t& count, Visit visit) {
  if (json.is_null()) return;
  if (type_of(json) == "Sequence") {
    for (const Json& part : array_field(json, list)) visit_components(part, list, count, visit);
    return;
  }
  if (++count > kMaxSteps) fail(ErrorCode::data_loss, "'{}': more than {} steps", list, kMaxSteps);
  visit(json);
}

SplitBehavior parse_behavior(const std::string& name) {
  static constexpr std::pair<std::string_view, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous}};
  for (const auto& [known, behavior] : kNames)
    if (name == known) return behavior;
  fail(ErrorCode::unsupported, "pre_tokenizer: split behavior '{:.60}' is not supported", name);
}

SplitStep split_step(const Json& json) {
  const Pattern pattern = pattern_field(json);
  const SplitBehavior behavior = parse_behavior(string_field(json, "behavior"));
  SplitStep step;
  if (pattern.is_regex) {
    step = split_at_regex(pattern.text, behavior);
  } else {
    step.literal = pattern.text;
    step.behavior = behavior;
  }
  step.inverts = bool_field(json, "invert", false);
  return step;
}

SplitStep pre_tokenize_step(const Json& json) {
  const std::string type = type_of(json);
  if (type == "Split") return split_step(json);
  if (type == "Digits") {
    const bool is_single = bool_field(json, "individual_digits", false);
    return split_at_class(SplitClass::numeric,
                          is_single ? SplitBehavior::isolated : SplitBehavior::contiguous);
  }
  if (type == "Punctuation")
    return split_at_class(SplitClass::punctuation,
                          parse_behavior(string_field(json, "behavior", "Isolated")));
  if (type == "WhitespaceSplit") return split_at_class(SplitClass::space, SplitBehavior::removed);
  if (type == "Whitespace") {
    SplitStep step;
    step.match = match_word_or_signs;
    step.behavior = SplitBehavior::removed;
    step.inverts = true;
    return step;
  }
  fail_unknown("pre_tokenizer", type);
}

SplitStep byte_level_step(const Json& json) {
  SplitStep step;
  if (bool_field(json, "use_regex", true)) step = split_at_regex(patterns::kGpt2);
  step.adds_prefix_space = bool_field(json, "add_prefix_space", true);
  return step;
}

// Appends the ids that "special_tokens" of a template gives for a name.
void append_template_ids(const Json& json,
                         const std::string& name,
                         int32_t max_id,
                         std::vector<int32_t>& ids) {
  const Json* tokens = find_field(json, "special_tokens");
  const Json* token = tokens ? find_field(*tokens, name) : nullptr;
  if (!token)
    fail(ErrorCode::data_loss,
         "post_processor: template token '{:.60}' is not in 'special_tokens'",
         name);
  for (const Json& id : array_field(*token, "ids"))
    ids.push_back(id_value(id, max_id, "post_processor: " + name));
}

// nullopt where the file says nothing, or names the texts in another order than one after the
// other.
std::optional<PairTemplate> pair_of(const Json& json, int32_t max_id) {
  if (!find_field(json, "pair")) return std::nullopt;
  PairTemplate out;
  std::string seen;
  for (const Json& part : array_field(json, "pair")) {
    if (const Json* token = find_field(part, "SpecialToken")) {
      auto& place = seen.empty() ? out.before : seen == "A" ? out.between : out.after;
      append_template_ids(json, string_field(*token, "id"), max_id, place);
    } else if (const Json* text = find_field(part, "Sequence")) {
      seen += string_field(*text, "id");
    }
  }
  return seen == "AB" ? std::optional(std::move(out)) : std::nullopt;
}

TokenTemplate template_of(const Json& json, int32_t max_id) {
  TokenTemplate out;
  int sequences = 0;
  for (const Json& part : array_field(json, "single")) {
    if (const Json* token = find_field(part, "SpecialToken"))
      append_template_ids(
          json, string_field(*token, "id"), max_id, sequences ? out.after : out.before);
    else if (const Json* text = find_field(part, "Sequence");
             text && string_field(*text, "id") == "A")
      ++sequences;
    else
      fail(ErrorCode::unsupported,
           "post_processor: a part of 'single' is neither a SpecialToken nor Sequence A");
  }
  if (sequences != 1)
    fail(ErrorCode::unsupported,
         "post_processor: 'single' has the text {} times, expected once",
         sequences);
  out.pair = pair_of(json, max_id);
  return out;
}

// RobertaProcessing and BertProcessing: [name, id] for the tokens in front and behind.
TokenTemplate classifier_template(const Json& json, int32_t max_id) {
  const auto id_of = [&](std::string_view key) {
    const Json& pair = array_field(json, key);
    if (pair.size() != 2)
      fail(ErrorCode::data_loss, "post_processor: '{}' is not a name and an id", key);
    return id_value(pair[1], max_id, key);
  };
  return {.before = {id_of("cls")}, .after = {id_of("sep")}};
}

}  // namespace

Normalizer parse_normalizer(const Json& json) {
  Normalizer normalizer;
  size_t count = 0;
  visit_components(
      json, "normalizers", count, [&](const Json& part) { normalizer.add(normalize_step(part)); });
  return normalizer;
}

PreTokenizer parse_pre_tokenizer(const Json& json) {
  PreTokenizer pre_tokenizer;
  size_t count = 0;
  bool is_byte_level = false;
  visit_components(json, "pretokenizers", count, [&](const Json& part) {
    if (is_byte_level)
      fail(ErrorCode::unsupported,
           "pre_tokenizer: '{:.60}' after ByteLevel is not supported",
           type_of(part));
    is_byte_level = type_of(part) == "ByteLevel";
    pre_tokenizer.add(is_byte_level ? byte_level_step(part) : pre_tokenize_step(part));
  });
  if (!is_byte_level)
    fail(ErrorCode::unsupported,
         "pre_tokenizer: only byte-level vocabularies are supported, and ByteLevel is missing");
  return pre_tokenizer;
}

PostProcessor parse_post_processor(const Json& json, int32_t id_end) {
  PostProcessor post_processor;
  size_t count = 0;
  visit_components(json, "processors", count, [&](const Json& part) {
    const std::string type = type_of(part);
    if (type == "ByteLevel") return;  // trims offsets; ids stay
    if (!post_processor.templates().empty())
      fail(ErrorCode::unsupported,
           "post_processor: '{:.60}' after another one that adds tokens is not supported",
           type);
    if (type == "TemplateProcessing")
      post_processor.add(template_of(part, id_end - 1));
    else if (type == "RobertaProcessing" || type == "BertProcessing")
      post_processor.add(classifier_template(part, id_end - 1));
    else
      fail_unknown("post_processor", type);
  });
  return post_processor;
}

void check_decoder(const Json& json) {
  size_t count = 0;
  bool is_byte_level = false;
  visit_components(json, "decoders", count, [&](const Json& part) {
    const std::string type = type_of(part);
    if (type == "ByteLevel")
      is_byte_level = true;
    else if (type != "Fuse")  // joins tokens, which decoding to bytes does anyway
      fail_unknown("decoder", type);
  });
  if (!is_byte_level)
    fail(ErrorCode::unsupported, "decoder: ByteLevel expected; other decoders are not supported");
}

}  // namespace quern

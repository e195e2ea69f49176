// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/scheme.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace quern {
namespace {

struct Row {
  std::string_view name;
  Rounding rounding;
  Element element;
  int bits;
  IntLayout layout;  // unless another is asked for
};

constexpr Row kSchemes[] = {
    {"rtn-int4", Rounding::nearest, Element::whole_number, 4, IntLayout::compressed_tensors},
    {"rtn-int8", Rounding::nearest, Element::whole_number, 8, IntLayout::compressed_tensors},
    {"gptq-int4", Rounding::gptq, Element::whole_number, 4, IntLayout::gptq},
    {"gptq-int8", Rounding::gptq, Element::whole_number, 8, IntLayout::gptq},
    {"awq-int4", Rounding::awq, Element::whole_number, 4, IntLayout::awq},
    {"fp8-dynamic", Rounding::gptq, Element::e4m3_channel, 8, IntLayout::compressed_tensors},
    {"fp8-block", Rounding::gptq, Element::e4m3_block, 8, IntLayout::compressed_tensors},
    {"w8a8-int8", Rounding::nearest, Element::int8_channel, 8, IntLayout::compressed_tensors},
};

const Row& row_of(std::string_view name) {
  for (const Row& row : kSchemes)
    if (row.name == name) return row;
  fail(ErrorCode::invalid_argument,
       "--scheme {}: expected {}",
       name,
       fmt::join(scheme_names(), ", "));
}

void choose_whole_numbers(Scheme& s, const SchemeChoices& choices) {
  if (choices.group != 0) s.group = choices.group;
  if (s.group != -1 && s.group != 32 && s.group != 64 && s.group != 128)
    fail(ErrorCode::invalid_argument, "--group-size {}: expected 32, 64, 128 or -1", s.group);
  if (!choices.layout.empty()) s.layout = parse_layout(choices.layout);
  if (s.layout == IntLayout::awq && s.bits != 4)
    fail(ErrorCode::invalid_argument,
         "--format awq: has codes of 4 bits only, {} asks for 8",
         s.name);
  s.is_symmetric = choices.symmetric < 0 ? s.layout != IntLayout::awq : choices.symmetric == 1;
}

void do_without_texts(Scheme& s, const SchemeChoices& choices) {
  if (s.is_float()) s.rounding = Rounding::nearest;
  if (choices.smoothing < 0) s.smoothing = 0;
  if (s.needs_calibration())
    fail(ErrorCode::invalid_argument,
         "--calibration none: {} looks at inputs{}",
         s.name,
         s.smoothing > 0 ? ": leave out --smoothing" : "; rtn-int4 and rtn-int8 do not");
}

Json gptq_config(const Scheme& s, const std::vector<std::string>& kept) {
  Json out = {{"quant_method", "gptq"},
              {"bits", s.bits},
              {"group_size", s.group},
              {"desc_act", false},
              {"static_groups", s.has_act_order},
              {"sym", s.is_symmetric},
              {"lm_head", false},
              {"damp_percent", s.damping},
              {"true_sequential", false},
              // Version 1 cannot say a zero point of 0.
              {"checkpoint_format", s.is_symmetric ? "gptq" : "gptq_v2"},
              {"pack_dtype", "int32"}};
  Json dynamic = Json::object();
  for (const std::string& name : kept) {
    if (name.find("layers.") == std::string::npos) continue;  // readers look at the layers only
    std::string pattern = "-:^";
    for (const char c : name) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
    dynamic[pattern + "$"] = Json::object();
  }
  if (!dynamic.empty()) out["dynamic"] = std::move(dynamic);
  return out;
}

// AutoAWQ matches parts of names: outside of the decoder the first component stands for all.
std::vector<std::string> parts_for_awq(const std::vector<std::string>& kept) {
  std::set<std::string> out;
  for (const std::string& name : kept) {
    const size_t tower = name.find("visual");
    out.insert(tower == std::string::npos ? name : name.substr(0, tower + 6));
  }
  return {out.begin(), out.end()};
}

Json compressed_config(const Scheme& s, const std::vector<std::string>& kept) {
  const bool is_float = s.is_float();
  const bool rounds_inputs = is_float || s.element == Element::int8_channel;
  const bool is_channel = is_float || s.group == -1;
  Json weights = {{"num_bits", s.bits},
                  {"type", is_float ? "float" : "int"},
                  {"symmetric", is_float || s.is_symmetric},
                  {"strategy", is_channel ? "channel" : "group"},
                  {"group_size", is_channel ? Json() : Json(s.group)},
                  {"dynamic", false},
                  {"actorder", s.has_act_order ? Json("weight") : Json()},
                  {"block_structure", nullptr},
                  {"observer", "minmax"}};
  Json inputs;
  if (rounds_inputs)
    inputs = {{"num_bits", 8},
              {"type", is_float ? "float" : "int"},
              {"symmetric", true},
              {"strategy", "token"},
              {"group_size", nullptr},
              {"dynamic", true}};
  return {{"quant_method", "compressed-tensors"},
          {"format",
           is_float        ? "float-quantized"
           : rounds_inputs ? "int-quantized"
                           : "pack-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"weights", std::move(weights)},
              {"input_activations", std::move(inputs)},
              {"output_activations", nullptr}}}}},
          {"ignore", kept},
          {"kv_cache_scheme", nullptr}};
}

}  // namespace

int64_t Scheme::granule() const {
  if (element == Element::e4m3_block) return 128;
  if (element != Element::whole_number) return 1;
  return group > 0 ? group : 32 / bits;
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> out;
  for (const Row& row : kSchemes) out.emplace_back(row.name);
  return out;
}

Scheme parse_scheme(std::string_view name, const SchemeChoices& choices) {
  const Row& row = row_of(name);
  Scheme s;
  s.name = row.name;
  s.rounding = row.rounding;
  s.element = row.element;
  s.bits = row.bits;
  s.layout = row.layout;
  if (s.element == Element::whole_number) {
    choose_whole_numbers(s, choices);
  } else if (choices.group != 0 || choices.symmetric >= 0 || !choices.layout.empty()) {
    fail(ErrorCode::invalid_argument,
         "--scheme {}: has no --group-size, --symmetric or --format: its form is fixed",
         s.name);
  }
  const bool is_smoothed = s.element == Element::int8_channel;
  if (is_smoothed) s.group = -1;
  if (choices.smoothing >= 0 && !is_smoothed)
    fail(ErrorCode::invalid_argument,
         "--smoothing: is of schemes that round inputs to whole numbers, not of {}",
         s.name);
  if (choices.smoothing > 1)
    fail(ErrorCode::invalid_argument, "--smoothing {}: expected 0 to 1", choices.smoothing);
  if (is_smoothed) s.smoothing = choices.smoothing < 0 ? 0.5 : choices.smoothing;
  if (choices.is_without_texts) do_without_texts(s, choices);
  if (choices.has_act_order && s.rounding != Rounding::gptq)
    fail(ErrorCode::invalid_argument, "--act-order: is of GPTQ, not of {}", s.name);
  s.has_act_order = choices.has_act_order;
  s.damping = choices.damping;
  s.searches_ranges = choices.searches_ranges < 0 ? s.rounding != Rounding::nearest && !s.is_float()
                                                  : choices.searches_ranges == 1;
  if (s.searches_ranges && s.is_float())
    fail(ErrorCode::invalid_argument, "--range-search: is of whole numbers, not of {}", s.name);
  return s;
}

Json quantization_config_of(const Scheme& s, const std::vector<std::string>& kept) {
  if (s.element == Element::e4m3_block)
    return {{"quant_method", "fp8"},
            {"fmt", "e4m3"},
            {"activation_scheme", "dynamic"},
            {"weight_block_size", {128, 128}},
            {"modules_to_not_convert", kept}};
  if (s.element != Element::whole_number) return compressed_config(s, kept);
  switch (s.layout) {
    case IntLayout::gptq:
      return gptq_config(s, kept);
    case IntLayout::awq:
      return {{"quant_method", "awq"},
              {"bits", 4},
              {"group_size", s.group},
              {"zero_point", true},
              {"version", "gemm"},
              {"modules_to_not_convert", parts_for_awq(kept)}};
    case IntLayout::compressed_tensors:
      break;
  }
  return compressed_config(s, kept);
}

}  // namespace quern

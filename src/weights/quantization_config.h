// SPDX-License-Identifier: Apache-2.0
// QuantizationConfig: what a checkpoint states of how it was quantized, whatever tool wrote it and
// wherever it lies. What the files hold decides; this is what it is checked against.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/config.h"

namespace quern {

// A pattern of module names in Python's syntax, tried from the beginning of a name as re.match
// does. Names are matched under every prefix that tools give them (tensor_names.h). Patterns come
// from outside: matching takes time polynomial in their length.
class ModulePattern {
 public:
  // `where` names the key in messages. Throws unsupported for what is no regular expression here,
  // or too large a one.
  ModulePattern(std::string_view pattern, std::string_view where);
  bool matches(std::string_view module) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

// What is stated of one module. Absent: not stated.
struct ModuleScheme {
  std::optional<int> bits;            // 1..32
  std::optional<int64_t> group_size;  // along K; -1: all of K
  std::optional<bool> symmetric, desc_act;
  bool is_excluded = false;  // stated to be stored as plain floats
};

class CompressedTargets;

class QuantizationConfig {
 public:
  // `model` is config.json: its quantization_config or compression_config (also inside
  // text_config), else quantize_config.json, quant_config.json or hf_quant_config.json beside it.
  // Every getter throws data_loss naming file and key where a value has the wrong type or is out of
  // range.
  explicit QuantizationConfig(const Config& model);

  bool is_stated() const { return is_stated_; }
  // Lower case: "awq", "gptq", "compressed-tensors", "fp8", "bitsandbytes", "modelopt", …; of files
  // that name none, what their keys tell; AutoRound's are "gptq" or "awq", as it packed them. Empty
  // if nothing is stated.
  const std::string& method() const { return method_; }
  // The object itself (of hf_quant_config.json its "quantization"), for keys of one method alone;
  // an empty one if nothing is stated.
  const Config& fields() const { return fields_; }

  // AWQ's "version" and GPTQ's "checkpoint_format", lower case; empty if not stated.
  std::string version() const;
  std::string checkpoint_format() const;
  // GPTQ's "meta": {"quantizer": …}, lower case: what wrote the file; empty if not stated.
  std::string quantizer() const;

  // modules_to_not_convert, by its newer name ignored_layers, or bitsandbytes'
  // llm_int8_skip_modules.
  const std::vector<std::string>& not_converted() const { return not_converted_; }
  // Whether an entry of not_converted() is a part of the module's path, as AutoAWQ reads it.
  bool is_not_converted(std::string_view module) const;

  // Of AWQ and GPTQ, what holds for `module`: bits, group_size, sym, desc_act (and their aliases),
  // with GPTQModel's `dynamic` overrides and AutoRound's extra_config applied.
  ModuleScheme scheme_of(std::string_view module) const;
  // Of compressed-tensors, which modules are quantized and how; null for other methods.
  const CompressedTargets* compressed() const { return compressed_.get(); }

 private:
  struct Override {
    ModulePattern pattern;
    ModuleScheme scheme;
  };
  void read_dynamic();
  void read_extra();

  Config fields_;
  bool is_stated_ = false;
  std::string method_;
  std::vector<std::string> not_converted_;
  ModuleScheme scheme_;
  std::map<std::string, ModuleScheme> extra_;  // by canonical name
  std::vector<Override> overrides_;            // the first that matches decides
  std::shared_ptr<const CompressedTargets> compressed_;
};

// The names by which files of either generation may know a module: itself first.
std::vector<std::string> spellings_of(std::string_view module);

}  // namespace quern

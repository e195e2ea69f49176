// SPDX-License-Identifier: Apache-2.0
// Where a model keeps its chat template and the special tokens that templates print.
#pragma once

#include <string>

#include "base/json.h"

namespace quern {

// Texts are empty where the model has none.
struct TemplateFiles {
  std::string standard, tool_use;  // some models have a second one, for requests with tools
  bool is_fallback = false;        // `standard` is the family's usual form: the files have none
};

// chat_template.jinja, else chat_template.json, else tokenizer_config.json (a string, or a list of
// {name, template}); for config.json's model_type "spark" without any of them the turns of
// iFlytek's models. Throws data_loss for another shape.
TemplateFiles read_template_files(const std::string& folder);

// bos_token, eos_token, unk_token, … as strings, additional_special_tokens as a list: an object of
// template variables.
Json read_special_tokens(const std::string& folder);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/tokenizer_info.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "prompt/template_files.h"
#include "weights/gguf.h"

namespace quern {
namespace {

std::string own_template(const std::string& model_path) {
  if (model_path.ends_with(".gguf")) return gguf_chat_template(model_path);
  return is_directory(model_path) ? read_template_files(model_path).standard : std::string();
}

}  // namespace

std::string tokenizer_info(const std::string& model_path,
                           const std::string& chat_template,
                           const Tokenizer& tokenizer) {
  Json body = Json::object();
  const std::string config = model_path + "/tokenizer_config.json";
  if (is_directory(model_path) && file_exists(config)) body = read_json_file(config);
  if (!body.is_object()) body = Json::object();
  const std::string text = chat_template.empty() ? own_template(model_path) : chat_template;
  body["chat_template"] = text.empty() ? Json(nullptr) : Json(text);
  body["vocab_size"] = tokenizer.vocab_size();
  const auto eos = tokenizer.eos_id();
  if (eos && !body.contains("eos_token"))
    body["eos_token"] = tokenizer.id_to_token(*eos).value_or("");
  return json_text(body);
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/responses.h"

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace quern {
namespace {

Json modalities(const ServiceInfo& info) {
  Json out = Json::array({"text"});
  if (info.sees_pictures) out.push_back("image");
  if (info.hears) out.push_back("audio");
  return out;
}

// In vLLM's words.
Json tasks(const Service& service) {
  const ServiceInfo& info = service.info();
  if (info.pooling)
    return Json::array({info.pooling->output == Output::scores ? "classify" : "embed"});
  if (service.speaker()) return Json::array({"speech"});
  if (service.whisper()) return Json::array({"transcription"});
  Json out = Json::array({"generate"});
  if (info.hears) out.push_back("transcription");
  return out;
}

Json model_card(const Service& service, const std::string& name) {
  const ServiceInfo& info = service.info();
  return {{"id", name},
          {"object", "model"},
          {"created", info.created},
          {"owned_by", "quern"},
          {"root", info.root},
          {"parent", nullptr},
          {"max_model_len", info.max_model_len},
          {"input_modalities", modalities(info)},
          {"tasks", tasks(service)}};
}

}  // namespace

std::string models_response(const Service& service) {
  Json body = Json::object();
  body["object"] = "list";
  Json& data = body["data"] = Json::array();
  for (const std::string& name : service.info().names) data.push_back(model_card(service, name));
  return json_text(body);
}

std::string model_response(const Service& service, const std::string& name) {
  return json_text(model_card(service, name));
}

std::string tokenize_response(const TokenIds& ids,
                              int64_t max_model_len,
                              const Tokenizer* strings_of) {
  Json body = {{"count", ids.size()},
               {"max_model_len", max_model_len},
               {"tokens", ids},
               {"token_strs", nullptr}};
  if (strings_of) {
    Json& strings = body["token_strs"] = Json::array();
    for (const int32_t id : ids) strings.push_back(strings_of->id_to_token(id).value_or(""));
  }
  return json_text(body);
}

std::string detokenize_response(const std::string& text) {
  Json body = Json::object();
  body["prompt"] = text;
  return json_text(body);
}

std::string version_response(const std::string& version) {
  Json body = Json::object();
  body["version"] = version;
  return json_text(body);
}

}  // namespace quern

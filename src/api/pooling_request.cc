// SPDX-License-Identifier: Apache-2.0
#include "api/pooling_request.h"

#include <nlohmann/json.hpp>

#include "api/api_error.h"

namespace quern {
namespace {

constexpr size_t kMaxInputs = 2048;  // OpenAI's own limit
constexpr int kMostPriority = 1000000;

void keep_ignored(const FieldReader& fields, std::vector<std::string>* ignored) {
  std::vector<std::string> unknown = fields.reject_misspelt();
  if (ignored) *ignored = std::move(unknown);
}

// What newer clients of vLLM may send and would change the answer.
void refuse_others(FieldReader& fields) {
  fields.refuse("padding", "prompts are taken as they are");
  fields.refuse("mm_processor_kwargs", "this model reads text only");
  fields.refuse("media_io_kwargs", "this model reads text only");
  fields.refuse("stream", "a vector comes whole");
  fields.ignore({"user", "request_id"});
}

// A document or one side of a pair: a string, or an object with one under "text".
std::string text_of(const Json& value, const std::string& path) {
  if (value.is_string()) return value.get<std::string>();
  const auto text = value.is_object() ? value.find("text") : value.end();
  if (value.is_object() && text != value.end() && text->is_string())
    return text->get<std::string>();
  if (value.is_object() && value.contains("content"))
    throw RequestError(ErrorCode::unsupported,
                       path,
                       format("{}: parts of media: this model reads text only", path),
                       "unsupported");
  fail_field(path,
             "{}: expected a string or an object with one under \"text\", got {}",
             path,
             json_type_name(value));
}

std::vector<std::string> texts_of(FieldReader& fields, const char* name) {
  const Json* field = fields.find(name);
  if (!field) fail_field(name, "{}: missing; expected a string or a list of strings", name);
  if (!field->is_array()) return {text_of(*field, name)};
  if (field->empty()) fail_field(name, "{}: expected at least one text, got an empty list", name);
  if (field->size() > kMaxInputs)
    fail_field(name, "{}: {} texts, the limit is {}", name, field->size(), kMaxInputs);
  std::vector<std::string> out;
  for (size_t i = 0; i < field->size(); ++i)
    out.push_back(text_of((*field)[i], format("{}[{}]", name, i)));
  return out;
}

}  // namespace

PoolingFields PoolingFields::parse(FieldReader& fields) {
  PoolingFields out;
  out.model = fields.string("model").value_or("");
  if (const auto keep = fields.integer("truncate_prompt_tokens", -1, INT32_MAX)) {
    if (*keep == 0)
      fail_field("truncate_prompt_tokens",
                 "truncate_prompt_tokens: expected at least 1, or -1 for as many as fit, got 0");
    out.truncate_prompt_tokens = static_cast<int>(*keep);
  }
  const std::string side = fields.string("truncation_side").value_or("right");
  if (side != "left" && side != "right")
    fail_field("truncation_side",
               "truncation_side: expected \"left\" or \"right\", got \"{}\"",
               side.substr(0, 64));
  out.keeps_end = side == "left";
  const auto newer = fields.boolean("use_activation"), older = fields.boolean("normalize");
  if (newer && older && *newer != *older)
    fail_field("normalize", "normalize is the older name of use_activation; send one of them");
  out.is_activated = newer ? newer : older;
  out.priority =
      static_cast<int>(fields.integer("priority", -kMostPriority, kMostPriority).value_or(0));
  out.cache_salt = cache_salt_of(fields);
  refuse_others(fields);
  return out;
}

PoolingInputs PoolingInputs::parse(FieldReader& fields) {
  PoolingInputs out;
  if (fields.has("messages") && fields.has("input"))
    fail_field("input", "expected either \"input\" or \"messages\"");
  if (!fields.has("messages")) {
    out.texts = texts_or_tokens(fields, "input", kMaxInputs);
    out.add_special_tokens = fields.boolean_or("add_special_tokens", true);
    return out;
  }
  out.chat = ChatMessages::parse(fields);
  // A conversation is looked at, not answered.
  if (!fields.has("add_generation_prompt")) out.chat->add_generation_prompt = false;
  return out;
}

EmbeddingRequest EmbeddingRequest::parse(const Json& body, std::vector<std::string>* ignored) {
  FieldReader fields(body);
  EmbeddingRequest out;
  out.common = PoolingFields::parse(fields);
  out.inputs = PoolingInputs::parse(fields);
  out.dimensions = fields.integer("dimensions", 1, 1 << 24);
  const std::string encoding = fields.string("encoding_format").value_or("float");
  if (encoding != "float" && encoding != "base64")
    fail_field("encoding_format",
               "encoding_format: expected \"float\" or \"base64\", got \"{}\"",
               encoding.substr(0, 64));
  out.is_base64 = encoding == "base64";
  if (const auto type = fields.string("embed_dtype"); type && *type != "float32")
    fail_field("embed_dtype", "embed_dtype: expected \"float32\", got \"{}\"", type->substr(0, 64));
  if (const auto order = fields.string("endianness");
      order && *order != "native" && *order != "little")
    fail_field("endianness",
               "endianness: expected \"little\" or \"native\", which is the same, got \"{}\"",
               order->substr(0, 64));
  keep_ignored(fields, ignored);
  return out;
}

ClassifyRequest ClassifyRequest::parse(const Json& body, std::vector<std::string>* ignored) {
  FieldReader fields(body);
  ClassifyRequest out;
  out.common = PoolingFields::parse(fields);
  out.inputs = PoolingInputs::parse(fields);
  keep_ignored(fields, ignored);
  return out;
}

ScoreRequest ScoreRequest::parse(const Json& body, std::vector<std::string>* ignored) {
  struct Names {
    const char *first, *second;
  };
  constexpr Names kNames[] = {
      {"text_1", "text_2"}, {"queries", "documents"}, {"queries", "items"}, {"data_1", "data_2"}};
  FieldReader fields(body);
  ScoreRequest out;
  out.common = PoolingFields::parse(fields);
  const Names* names = &kNames[0];
  for (const Names& each : kNames)
    if (fields.has(each.second)) names = &each;
  out.first_field = names->first;
  out.second_field = names->second;
  out.first = texts_of(fields, names->first);
  out.second = texts_of(fields, names->second);
  if (out.first.size() > 1 && out.first.size() != out.second.size())
    fail_field(names->first,
               "{} texts and {}: expected one against any number, or as many on both sides",
               out.first.size(),
               out.second.size());
  keep_ignored(fields, ignored);
  return out;
}

RerankRequest RerankRequest::parse(const Json& body, std::vector<std::string>* ignored) {
  FieldReader fields(body);
  RerankRequest out;
  out.common = PoolingFields::parse(fields);
  const std::vector<std::string> query = texts_of(fields, "query");
  if (query.size() != 1) fail_field("query", "query: expected one text, got {}", query.size());
  out.query = query.front();
  out.documents = texts_of(fields, "documents");
  out.top_n = static_cast<size_t>(fields.integer("top_n", 0, INT32_MAX).value_or(0));
  out.return_documents = fields.boolean_or("return_documents", true);
  for (const char* name : {"max_tokens_per_query", "max_tokens_per_doc", "max_chunks_per_doc"})
    fields.refuse(name, "texts are taken whole; truncate_prompt_tokens cuts what is read");
  fields.refuse("rank_fields", "documents have one field, \"text\"");
  keep_ignored(fields, ignored);
  return out;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "api/engine_service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "base/file.h"
#include "weights/gguf.h"

namespace quern {
namespace {

void refuse_media(const Json& messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto content = messages[i].find("content");
    if (content == messages[i].end() || !content->is_array()) continue;
    for (size_t j = 0; j < content->size(); ++j) {
      const std::string& type = (*content)[j].at("type").get_ref<const std::string&>();
      if (type == "text") continue;
      const std::string path = format("messages[{}].content[{}]", i, j);
      throw RequestError(ErrorCode::unsupported,
                         path,
                         format("{}: a part of type \"{}\", but this model reads text only",
                                path,
                                type.substr(0, 64)),
                         "unsupported");
    }
  }
}

ChatOptions options_of(const ChatMessages& chat) {
  return {.tools = chat.tools.get(),
          .template_kwargs = chat.template_kwargs.get(),
          .processor = chat.processor,
          .add_generation_prompt = chat.add_generation_prompt,
          .continue_final_message = chat.continue_final_message,
          .add_special_tokens = chat.add_special_tokens};
}

// The key of a JSON file beside the weights; null where there is no such file or key.
Json value_in(const std::string& path, const char* key) {
  if (!file_exists(path)) return nullptr;
  const Json file = read_json_file(path);
  const auto value = file.is_object() ? file.find(key) : file.end();
  return value == file.end() ? Json(nullptr) : *value;
}

// Of config.json; a text model nested in it knows better than the whole.
Json end_of_sequence_in(const std::string& path) {
  const Json text = value_in(path, "text_config");
  if (text.is_object())
    if (const auto nested = text.find("eos_token_id"); nested != text.end() && !nested->is_null())
      return *nested;
  return value_in(path, "eos_token_id");
}

// What is too large in a request is the request's own fault: 400, not the 429 of a busy server.
template <typename Build>
std::shared_ptr<const Prompt> prepared(const char* field, Build&& build) {
  try {
    return std::make_shared<const Prompt>(build());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::exhausted) throw;
    throw RequestError(ErrorCode::invalid_argument, field, error.what(), "too_large");
  }
}

// The messages with a text of no bytes where one has no content; null where all have some.
Json with_empty_texts(const Json& messages) {
  Json out;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto content = messages[i].find("content");
    if (content != messages[i].end() && !content->is_null()) continue;
    if (out.is_null()) out = messages;
    out[i]["content"] = "";
  }
  return out;
}

}  // namespace

EngineService::EngineService(ServiceInfo info,
                             GenerationDefaults defaults,
                             const PromptBuilder& builder,
                             Engine& engine,
                             MediaSource media,
                             GrammarLimits grammars)
    : info_(std::move(info)),
      defaults_(std::move(defaults)),
      builder_(builder),
      engine_(engine),
      media_(std::move(media)),
      grammar_limits_(grammars) {
  QUERN_CHECK(!info_.names.empty());
  if (const auto medium = builder_.largest_medium(info_.max_model_len)) {
    info_.sees_pictures = medium->kind != MediaKind::audio;
    info_.hears = medium->kind == MediaKind::audio;
  }
  choose_parsers(std::string(kAutoParser), std::string(kAutoParser));
}

void EngineService::choose_parsers(const std::string& tools, const std::string& reasoning) {
  const ChatTemplate* chat_template = builder_.chat_template();
  dialects_ = AnswerDialects::choose(
      tools, reasoning, chat_template ? chat_template->source() : std::string(), tokenizer());
}

// A model that is never shown the tools answers as if there were none; better to say so. A template
// may hand tools over to another one, so what counts is the text.
void EngineService::check_tools(const ChatMessages& chat) const {
  const ChatTemplate* chat_template = builder_.chat_template();
  if (!chat.tools || !chat.must_show_tools || (chat_template && chat_template->mentions("tools")))
    return;
  ChatOptions options = options_of(chat);
  const std::string with = builder_.render(*chat.messages, options);
  options.tools = nullptr;
  if (with == builder_.render(*chat.messages, options))
    throw RequestError(ErrorCode::unsupported,
                       "tools",
                       "tools: this model's chat template does not show them to the model",
                       "unsupported");
}

// A prompt without a recording would have this model attend to nothing.
void EngineService::refuse_conversation(const char* field) const {
  if (whisper_)
    throw RequestError(ErrorCode::unsupported,
                       field,
                       "this model writes recordings down and answers nothing else: send them to "
                       "/v1/audio/transcriptions",
                       "unsupported");
  if (speaker_)
    throw RequestError(ErrorCode::unsupported,
                       field,
                       "this model speaks and answers nothing: send texts to /v1/audio/speech",
                       "unsupported");
}

std::shared_ptr<const Prompt> EngineService::prepare(const ChatMessages& chat) const {
  refuse_conversation("messages");
  if (!builder_.takes_media()) refuse_media(*chat.messages);
  return prepared("messages", [&] {
    check_tools(chat);
    return from_messages(chat);
  });
}

// A message that is all tool calls has no content. Some templates ask whether it is null, others
// fail on it: these get an empty text.
Prompt EngineService::from_messages(const ChatMessages& chat) const {
  try {
    return builder_.from_messages(*chat.messages, options_of(chat), media_);
  } catch (const RequestError&) {
    throw;  // not the template's
  } catch (const Error&) {
    const Json texts = with_empty_texts(*chat.messages);
    if (texts.is_null()) throw;
    return builder_.from_messages(texts, options_of(chat), media_);
  }
}

std::shared_ptr<const Prompt> EngineService::prepare(const TextOrTokens& prompt,
                                                     bool add_special_tokens) const {
  refuse_conversation("prompt");
  if (const auto* text = std::get_if<std::string>(&prompt))
    return prepared("prompt", [&] { return builder_.from_text(*text, add_special_tokens); });
  const TokenIds& ids = std::get<TokenIds>(prompt);
  const int32_t vocab = tokenizer().vocab_size();
  for (const int32_t id : ids)
    if (id >= vocab)
      fail_field("prompt", "prompt: token id {} is outside the vocabulary of {}", id, vocab);
  return std::make_shared<const Prompt>(builder_.from_ids(ids));
}

Sound EngineService::hear(std::string file, int64_t rate_hz) const {
  EncodedMedia encoded;
  encoded.kind = MediaKind::audio;
  encoded.files.push_back(std::move(file));
  if (encoded.files[0].size() > media_.limits().max_bytes)
    fail_field("file",
               "file: {} bytes, the limit is {} (--max-media-bytes)",
               encoded.files[0].size(),
               media_.limits().max_bytes);
  try {
    return media_.decode(encoded, {}, rate_hz).sound;
  } catch (const Error& error) {
    const bool is_too_long = error.code() == ErrorCode::exhausted;
    throw RequestError(is_too_long ? ErrorCode::invalid_argument : error.code(),
                       "file",
                       format("file: {}", error.what()),
                       is_too_long ? "too_large" : "");
  }
}

std::shared_ptr<const Prompt> EngineService::prepare_dictation(std::string file) const {
  if (!info_.hears) return Service::prepare_dictation(std::move(file));
  const Json messages = {
      {{"role", "user"},
       {"content",
        {{{"type", "audio"}, {"audio", ""}},
         {{"type", "text"}, {"text", "Please transcribe this audio into text"}}}}}};
  std::vector<OpenedMedia> media(1);
  media[0].kind = MediaKind::audio;
  media[0].sound = hear(std::move(file), builder_.sound_rate_hz());
  return prepared("file", [&] {
    return builder_.from_text(builder_.render(messages, {}), false, std::move(media));
  });
}

std::shared_ptr<const Grammar> EngineService::compile(const GrammarSpec& spec) const {
  std::call_once(compiler_made_, [&] {
    compiler_ =
        std::make_unique<GrammarCompiler>(tokenizer(), defaults_.eos_token_ids, grammar_limits_);
  });
  return compiler_->compile(spec);
}

GenerationDefaults read_generation_defaults(const std::string& model_path,
                                            const Tokenizer& tokenizer) {
  GenerationDefaults out;
  if (is_directory(model_path)) {
    const std::string path = model_path + "/generation_config.json";
    if (file_exists(path)) out = GenerationDefaults::from(read_json_file(path));
    if (out.eos_token_ids.empty()) {
      Json eos = Json::object();
      eos["eos_token_id"] = end_of_sequence_in(model_path + "/config.json");
      out.eos_token_ids = GenerationDefaults::from(eos).eos_token_ids;
    }
  }
  if (model_path.ends_with(".gguf"))
    out = GenerationDefaults::from(gguf_generation_config(model_path));
  const auto eos = tokenizer.eos_id();
  auto& ids = out.eos_token_ids;
  if (eos && std::find(ids.begin(), ids.end(), *eos) == ids.end()) ids.push_back(*eos);
  return out;
}

}  // namespace quern

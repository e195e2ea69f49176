// SPDX-License-Identifier: Apache-2.0
#include "prompt/prompt_builder.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "prompt/conversation.h"
#include "prompt/mrope.h"
#include "prompt/processor.h"
#include "prompt/template_files.h"
#include "weights/gguf.h"

namespace quern {
namespace {

// One medium of a prompt.
struct PlacedMedia {
  MediaKind kind;
  std::vector<MediaPiece> pieces;
};

constexpr MediaKind kKinds[] = {MediaKind::image, MediaKind::video, MediaKind::audio};

std::string_view plural(MediaKind kind) {
  switch (kind) {
    case MediaKind::image:
      return "pictures";
    case MediaKind::video:
      return "clips";
    case MediaKind::audio:
      return "recordings";
  }
  return "";
}

// What the files of a model say; each part may be missing.
struct Parts {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> standard, tool_use;
  bool has_fallback_template = false;
  Json special_tokens;
  std::unique_ptr<Processor> processor;
  int text_axes = 1;
  int64_t max_tokens = 0;  // the model's context; 0: unknown
};

class Builder : public PromptBuilder {
 public:
  explicit Builder(Parts parts) : parts_(std::move(parts)) {}

  const Tokenizer& tokenizer() const override { return parts_.tokenizer; }
  const ChatTemplate* chat_template() const override {
    return parts_.standard ? &*parts_.standard : nullptr;
  }
  bool takes_media() const override { return parts_.processor != nullptr; }
  std::optional<MediaInput> largest_medium(int64_t max_tokens) const override {
    if (!takes_media()) return std::nullopt;
    return parts_.processor->largest_medium(max_tokens);
  }
  int64_t sound_rate_hz() const override {
    return takes_media() ? parts_.processor->sound_rate_hz() : PromptBuilder::sound_rate_hz();
  }
  std::string render(const Json& messages, const ChatOptions& options) const override;
  Prompt from_messages(const Json& messages,
                       const ChatOptions& options,
                       const MediaSource& media) const override;
  Prompt from_text(std::string_view text,
                   bool add_special_tokens,
                   std::vector<OpenedMedia> media,
                   const PromptRules& rules) const override;
  Prompt from_ids(std::vector<int32_t> ids) const override;

 private:
  std::string render_checked(Json messages, const ChatOptions& options) const;
  const ChatTemplate& template_for(const ChatOptions& options) const;
  void check_context(int64_t tokens) const;
  void check_counts(const std::vector<MediaPart>& parts, const MediaLimits& limits) const;
  ResizedMedia resize(const OpenedMedia& media, const PromptRules& rules) const;
  PlacedMedia open_media(const MediaPart& part,
                         const MediaSource& source,
                         const ProcessorOptions& options,
                         int64_t& tokens) const;
  Prompt assemble(std::string text,
                  bool add_special_tokens,
                  const std::vector<PlacedMedia>& media,
                  const PromptRules& rules) const;
  void expand(const std::vector<int32_t>& ids,
              const std::vector<PlacedMedia>& media,
              Prompt& prompt) const;
  void put(const PlacedMedia& medium, Prompt& prompt) const;
  std::optional<MediaKind> kind_of(int32_t id) const;

  Parts parts_;
};

const ChatTemplate& Builder::template_for(const ChatOptions& options) const {
  if (options.tools && !options.tools->empty() && parts_.tool_use) return *parts_.tool_use;
  if (parts_.standard) return *parts_.standard;
  fail(ErrorCode::invalid_argument,
       "this model has no chat template: send a plain prompt, or start with --chat-template FILE");
}

std::string Builder::render_checked(Json messages, const ChatOptions& options) const {
  const ChatTemplate& chat_template = template_for(options);
  Json variables = parts_.special_tokens;
  if (options.template_kwargs && !options.template_kwargs->is_null()) {
    if (!options.template_kwargs->is_object())
      fail(ErrorCode::invalid_argument, "chat_template_kwargs: expected an object");
    variables.update(*options.template_kwargs);
  }
  variables["messages"] = std::move(messages);
  variables["tools"] = options.tools && !options.tools->empty() ? *options.tools : Json(nullptr);
  if (!variables.contains("documents")) variables["documents"] = nullptr;
  variables["add_generation_prompt"] =
      options.add_generation_prompt && !options.continue_final_message;
  const int64_t now = std::time(nullptr);
  if (options.continue_final_message)
    return render_continued(chat_template, std::move(variables), now);
  return chat_template.render(variables, now);
}

std::string Builder::render(const Json& messages, const ChatOptions& options) const {
  std::vector<MediaPart> media;
  return render_checked(read_conversation(messages, takes_media(), media), options);
}

void Builder::check_context(int64_t tokens) const {
  if (parts_.max_tokens > 0 && tokens > parts_.max_tokens)
    fail(ErrorCode::invalid_argument,
         "the media become at least {} tokens, the model's context is {}; send fewer, smaller or "
         "shorter ones, or state max_pixels",
         tokens,
         parts_.max_tokens);
}

// Counts before it computes: a prompt that cannot fit costs no memory.
ResizedMedia Builder::resize(const OpenedMedia& media, const PromptRules& rules) const {
  check_context(parts_.processor->count_tokens(media, rules));
  return parts_.processor->resize(media, rules);
}

// Before anything is fetched or decoded.
void Builder::check_counts(const std::vector<MediaPart>& parts, const MediaLimits& limits) const {
  for (const MediaPart& part : parts)
    if (!parts_.processor->placeholder(part.kind))
      fail(ErrorCode::unsupported,
           "{}: this model takes no {} (a part of kind \"{}\")",
           part.where,
           plural(part.kind),
           name_of(part.kind));
  for (const MediaKind kind : kKinds) {
    const auto count = std::count_if(
        parts.begin(), parts.end(), [&](const MediaPart& part) { return part.kind == kind; });
    if (count > limits.max_count(kind))
      fail(ErrorCode::invalid_argument,
           "messages: {} {}; at most {} of kind \"{}\" are accepted in one prompt "
           "(--limit-mm-per-prompt)",
           count,
           plural(kind),
           limits.max_count(kind),
           name_of(kind));
  }
}

// One part of a conversation, as the tower takes it; `tokens` counts those of all parts so far.
PlacedMedia Builder::open_media(const MediaPart& part,
                                const MediaSource& source,
                                const ProcessorOptions& options,
                                int64_t& tokens) const {
  EncodedMedia encoded = source.fetch_part(*part.part, part.where);
  encoded.options = options.narrowed_by(encoded.options);
  return with_context(part.where, [&] {
    const auto make = [&] {
      const FrameRule rule = parts_.processor->frame_rule(encoded.options);
      return std::make_shared<const SharedMedia>(
          resize(source.decode(encoded, rule, parts_.processor->sound_rate_hz()), PromptRules()));
    };
    const MediaCache::Value media =
        source.cache() ? source.cache()->find_or_make(encoded.key(), make) : make();
    encoded.files.clear();
    tokens += media->resized().tokens;
    check_context(tokens);
    const auto pack = [&](const ResizedMedia& m) { return parts_.processor->pack(m); };
    return PlacedMedia{part.kind, media->pieces(pack)};
  });
}

Prompt Builder::from_messages(const Json& messages,
                              const ChatOptions& options,
                              const MediaSource& source) const {
  std::vector<MediaPart> parts;
  Json checked = read_conversation(messages, takes_media(), parts);
  if (takes_media()) check_counts(parts, source.limits());
  std::string text = render_checked(std::move(checked), options);
  std::vector<PlacedMedia> media;
  int64_t tokens = 0;
  for (const MediaPart& part : parts)
    media.push_back(open_media(part, source, options.processor, tokens));
  return assemble(std::move(text), options.add_special_tokens, media, PromptRules());
}

Prompt Builder::from_text(std::string_view text,
                          bool add_special_tokens,
                          std::vector<OpenedMedia> opened,
                          const PromptRules& rules) const {
  if (!opened.empty() && !takes_media())
    fail(ErrorCode::invalid_argument, "this model takes text only, got {} media", opened.size());
  std::vector<PlacedMedia> media;
  int64_t tokens = 0;
  for (const OpenedMedia& medium : opened) {
    tokens += parts_.processor->count_tokens(medium, rules);
    check_context(tokens);
    media.push_back({medium.kind, parts_.processor->pack(parts_.processor->resize(medium, rules))});
  }
  return assemble(std::string(text), add_special_tokens, media, rules);
}

Prompt Builder::from_ids(std::vector<int32_t> ids) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= parts_.tokenizer.vocab_size())
      fail(ErrorCode::invalid_argument,
           "token {} of the prompt: id {} is not in [0, {})",
           i,
           ids[i],
           parts_.tokenizer.vocab_size());
    if (kind_of(ids[i]))
      fail(ErrorCode::invalid_argument,
           "token {} of the prompt: id {} stands for media; send messages instead",
           i,
           ids[i]);
  }
  Prompt prompt;
  prompt.ids = std::move(ids);
  place_text(prompt, parts_.text_axes);
  return prompt;
}

Prompt Builder::assemble(std::string text,
                         bool add_special_tokens,
                         const std::vector<PlacedMedia>& media,
                         const PromptRules& rules) const {
  Prompt prompt;
  std::vector<int32_t> ids =
      parts_.tokenizer.encode(text, {.add_special_tokens = add_special_tokens});
  prompt.text = std::move(text);
  if (!takes_media()) {
    prompt.ids = std::move(ids);
    place_text(prompt, parts_.text_axes);
    return prompt;
  }
  expand(ids, media, prompt);
  parts_.processor->place(prompt, rules);
  return prompt;
}

std::optional<MediaKind> Builder::kind_of(int32_t id) const {
  if (parts_.processor)
    for (MediaKind kind : kKinds)
      if (parts_.processor->placeholder(kind) == id) return kind;
  return std::nullopt;
}

// The n-th placeholder of a kind makes way for the n-th medium of that kind.
void Builder::expand(const std::vector<int32_t>& ids,
                     const std::vector<PlacedMedia>& media,
                     Prompt& prompt) const {
  for (MediaKind kind : kKinds) {
    const auto id = parts_.processor->placeholder(kind);
    const auto placeholders = id ? std::count(ids.begin(), ids.end(), *id) : 0;
    const auto given = std::count_if(
        media.begin(), media.end(), [&](const PlacedMedia& m) { return m.kind == kind; });
    if (placeholders != given)
      fail(ErrorCode::invalid_argument,
           "the text has places for {} {}{}, and {} came; other text must not contain the "
           "placeholder",
           placeholders,
           plural(kind),
           id ? format(" ({})", parts_.tokenizer.id_to_token(*id).value_or(format("id {}", *id)))
              : "",
           given);
  }
  auto next = std::array{media.begin(), media.begin(), media.begin()};
  for (int32_t id : ids) {
    const std::optional<MediaKind> kind = kind_of(id);
    if (!kind) {
      prompt.ids.push_back(id);
      continue;
    }
    auto& at = next[static_cast<size_t>(*kind)];
    at = std::find_if(at, media.end(), [&](const PlacedMedia& m) { return m.kind == *kind; });
    put(*at++, prompt);
  }
}

// The pieces of one medium.
void Builder::put(const PlacedMedia& medium, Prompt& prompt) const {
  const auto put_text = [&](const std::string& text) {
    const std::vector<int32_t> ids = parts_.tokenizer.encode(text, {.add_special_tokens = false});
    prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
  };
  for (const MediaPiece& piece : medium.pieces) {
    put_text(piece.before);
    const auto count = static_cast<int32_t>(piece.input->tokens);
    prompt.media.push_back({piece.input, static_cast<int32_t>(prompt.ids.size()), count});
    prompt.ids.insert(
        prompt.ids.end(), static_cast<size_t>(count), parts_.processor->row_token(medium.kind));
    put_text(piece.after);
  }
}

std::optional<ChatTemplate> compile(const std::string& source, std::string_view where) {
  if (source.empty()) return std::nullopt;
  return with_context(where, [&] { return ChatTemplate(source); });
}

// The context that the config states, stretched where rotary positions are scaled.
int64_t context_of(const Config& config) {
  const Config text = config.sub_or_self("text_config");
  const auto scaling = text.find("rope_scaling");
  const double factor =
      scaling && scaling->json().is_object() ? scaling->number_or("factor", 1) : 1;
  return static_cast<int64_t>(static_cast<double>(text.integer_or("max_position_embeddings", 0)) *
                              std::clamp(factor, 1.0, 1e3));
}

int axes_of(const Config& config) {
  return std::clamp(rotary_axes(config).value_or(1), 1, 8);
}

Json special_tokens_of(const Tokenizer& tokenizer) {
  Json variables = Json::object();
  const auto put = [&](const char* name, std::optional<int32_t> id) {
    if (id) variables[name] = tokenizer.id_to_token(*id).value_or("");
  };
  put("bos_token", tokenizer.bos_id());
  put("eos_token", tokenizer.eos_id());
  put("pad_token", tokenizer.pad_id());
  return variables;
}

Parts open_gguf_parts(const std::string& path) {
  Tokenizer tokenizer = Tokenizer::from_gguf_vocabulary(read_gguf_vocabulary(path));
  Json special_tokens = special_tokens_of(tokenizer);
  return {.tokenizer = std::move(tokenizer),
          .standard = compile(gguf_chat_template(path), "tokenizer.chat_template"),
          .tool_use = {},
          .has_fallback_template = false,
          .special_tokens = std::move(special_tokens),
          .processor = nullptr};
}

Parts open_folder_parts(const std::string& folder,
                        const Checkpoint& checkpoint,
                        const ProcessorOptions& options) {
  const TemplateFiles templates = read_template_files(folder);
  Tokenizer tokenizer = Tokenizer::from_folder(folder);
  std::unique_ptr<Processor> processor = open_processor(folder, checkpoint, options);
  if (processor) processor->check(tokenizer);
  return {.tokenizer = std::move(tokenizer),
          .standard = compile(templates.standard, "chat template"),
          .tool_use = compile(templates.tool_use, "chat template for tools"),
          .has_fallback_template = templates.is_fallback,
          .special_tokens = read_special_tokens(folder),
          .processor = std::move(processor)};
}

}  // namespace

std::unique_ptr<PromptBuilder> PromptBuilder::open(const std::string& model_folder,
                                                   const Checkpoint& checkpoint,
                                                   std::optional<std::string> chat_template,
                                                   const ProcessorOptions& options) {
  Parts parts = is_directory(model_folder) ? open_folder_parts(model_folder, checkpoint, options)
                                           : open_gguf_parts(model_folder);
  if (!parts.processor && options != ProcessorOptions())
    fail(ErrorCode::invalid_argument,
         "mm_processor_kwargs: this model takes text only, it has no media processor");
  parts.text_axes = axes_of(checkpoint.config());
  parts.max_tokens = context_of(checkpoint.config());
  if (chat_template) {
    parts.standard = compile(*chat_template, "given chat template");
    parts.tool_use.reset();
  } else if (parts.has_fallback_template) {
    log(LogLevel::warn,
        "{}: no chat_template: turns are written as <System> …<end><User> …<end><Bot> …; "
        "--chat-template FILE states another form (docs/models/spark.md)",
        model_folder);
  }
  return std::make_unique<Builder>(std::move(parts));
}

}  // namespace quern

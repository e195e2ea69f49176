// SPDX-License-Identifier: Apache-2.0
#include "api/sampling_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "api/api_error.h"

namespace quern {
namespace {

constexpr size_t kMaxStopStrings = 64, kMaxStopBytes = 1024, kMaxBadWords = 1024,
                 kMaxSaltBytes = 256;
constexpr int kMaxChoices = 128, kMaxPromptLogprobs = 20;

// A list of non-empty strings, or (for `stop`) one string.
std::vector<std::string> strings_of(FieldReader& fields, std::string_view name, size_t max_count) {
  const Json* field = fields.find(name);
  if (!field) return {};
  const Json list = field->is_string() ? Json::array({*field}) : *field;
  const std::string path = fields.path(name);
  if (!list.is_array())
    fail_field(
        path, "{}: expected a string or a list of strings, got {}", path, json_type_name(list));
  if (list.size() > max_count)
    fail_field(path, "{}: {} strings, the limit is {}", path, list.size(), max_count);
  std::vector<std::string> out;
  for (const Json& item : list) {
    if (!item.is_string())
      fail_field(path, "{}: expected strings, got {}", path, json_type_name(item));
    out.push_back(item.get<std::string>());
    if (out.back().empty() || out.back().size() > kMaxStopBytes)
      fail_field(path,
                 "{}: a string of {} bytes; expected 1 to {}",
                 path,
                 out.back().size(),
                 kMaxStopBytes);
  }
  return out;
}

std::vector<std::pair<int32_t, float>> logit_bias_of(FieldReader& fields) {
  const Json* field = fields.find("logit_bias");
  if (!field) return {};
  const std::string path = fields.path("logit_bias");
  if (!field->is_object())
    fail_field(
        path, "{}: expected an object of token id: bias, got {}", path, json_type_name(*field));
  std::vector<std::pair<int32_t, float>> out;
  for (const auto& [key, value] : field->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0)
      fail_field(path, "{}: \"{}\" is not a token id", path, key.substr(0, 32));
    if (!value.is_number() || value.get<double>() < -100 || value.get<double>() > 100)
      fail_field(path, "{}: the bias of token {} must be a number from -100 to 100", path, id);
    out.emplace_back(id, static_cast<float>(value.get<double>()));
  }
  return out;
}

// Fields that other servers understand and that would change the answer: said, not dropped.
void refuse_unsupported(FieldReader& fields) {
  for (const std::string_view name : {"stop_regex",
                                      "mirostat",
                                      "dry_multiplier",
                                      "xtc_probability",
                                      "repetition_detection",
                                      "logits_processors",
                                      "prompt_embeds",
                                      "vllm_xargs",
                                      "kv_transfer_params",
                                      "use_beam_search",
                                      "media_io_kwargs"})
    fields.refuse(name, "remove it");
  // Here 0 asks for something.
  fields.refuse("thinking_token_budget", "remove it", std::numeric_limits<double>::quiet_NaN());
  fields.refuse("typical_p", "remove it", 1.0);
  fields.refuse("length_penalty", "this version has no beam search", 1.0);
}

}  // namespace

GenerationDefaults GenerationDefaults::from(const Json& config) {
  GenerationDefaults out;
  if (!config.is_object()) return out;
  const auto number = [&](const char* key, double& value) {
    const auto it = config.find(key);
    if (it == config.end() || it->is_null()) return;
    if (!it->is_number())
      fail(ErrorCode::data_loss,
           "generation_config.json: {}: expected a number, got {}",
           key,
           json_type_name(*it));
    value = it->get<double>();
  };
  double top_k = 0, max_tokens = -1;
  number("temperature", out.temperature);
  number("top_p", out.top_p);
  number("min_p", out.min_p);
  number("repetition_penalty", out.repetition_penalty);
  number("top_k", top_k);
  number("max_new_tokens", max_tokens);
  out.top_k = static_cast<int>(std::clamp(top_k, 0.0, 1e9));
  if (max_tokens >= 1) out.max_tokens = static_cast<int>(std::min(max_tokens, 1e9));
  const auto eos = config.find("eos_token_id");
  if (eos != config.end() && !eos->is_null())
    for (const Json& id : eos->is_array() ? *eos : Json::array({*eos})) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
        fail(ErrorCode::data_loss,
             "generation_config.json: eos_token_id: {} is not a token id",
             id.dump());
      out.eos_token_ids.push_back(id.get<int32_t>());
    }
  return out;
}

namespace {

std::optional<int> truncation_of(FieldReader& fields) {
  const auto tokens = fields.integer("truncate_prompt_tokens", -1, INT32_MAX);
  if (!tokens) return std::nullopt;
  if (*tokens == 0)
    fail_field(fields.path("truncate_prompt_tokens"),
               "truncate_prompt_tokens: expected how many of the last tokens to keep, at least 1, "
               "or -1 for as many as fit; got 0");
  return static_cast<int>(*tokens);
}

int prompt_logprobs_of(FieldReader& fields) {
  const auto count = fields.integer("prompt_logprobs", 0, kMaxPromptLogprobs);
  if (count && fields.boolean_or("stream", false))
    fail_field(fields.path("prompt_logprobs"),
               "prompt_logprobs: not available with \"stream\": true; ask without streaming");
  return static_cast<int>(count.value_or(-1));
}

}  // namespace

std::string cache_salt_of(FieldReader& fields) {
  const auto salt = fields.string("cache_salt");
  if (salt && (salt->empty() || salt->size() > kMaxSaltBytes))
    fail_field(fields.path("cache_salt"),
               "cache_salt: expected a string of 1 to {} bytes, got {}",
               kMaxSaltBytes,
               salt->size());
  return salt.value_or("");
}

SamplingFields SamplingFields::parse(FieldReader& fields) {
  SamplingFields out;
  refuse_unsupported(fields);
  out.temperature = fields.number("temperature", 0, 100);
  out.top_p = fields.number("top_p", 0, 1);
  if (out.top_p == 0.0)
    fail_field(fields.path("top_p"), "top_p: expected a number above 0 and up to 1, got 0");
  out.min_p = fields.number("min_p", 0, 1);
  out.top_k = fields.integer("top_k", -1, INT32_MAX);
  out.repetition_penalty = fields.number("repetition_penalty", 1e-3, 100);
  out.presence_penalty = fields.number("presence_penalty", -2, 2).value_or(0);
  out.frequency_penalty = fields.number("frequency_penalty", -2, 2).value_or(0);
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX))
    out.seed = static_cast<uint64_t>(*seed);
  out.min_tokens = static_cast<int>(fields.integer("min_tokens", 0, INT32_MAX).value_or(0));
  out.n = static_cast<int>(fields.integer("n", 1, kMaxChoices).value_or(1));
  if (fields.integer("best_of", 1, kMaxChoices).value_or(out.n) != out.n)
    throw RequestError(ErrorCode::unsupported,
                       "best_of",
                       "best_of: not supported unless equal to n",
                       "unsupported");
  out.priority = static_cast<int>(fields.integer("priority", -1000000, 1000000).value_or(0));
  out.ignore_eos = fields.boolean_or("ignore_eos", false);
  out.cache_salt = cache_salt_of(fields);
  out.prompt_logprobs = prompt_logprobs_of(fields);
  out.truncate_prompt_tokens = truncation_of(fields);
  out.return_token_ids = fields.boolean_or("return_token_ids", false);
  out.return_tokens_as_token_ids = fields.boolean_or("return_tokens_as_token_ids", false);
  out.text.stop_token_ids = fields.token_ids("stop_token_ids", 1024);
  out.allowed_token_ids = fields.token_ids("allowed_token_ids", size_t{1} << 20);
  if (fields.has("allowed_token_ids") && out.allowed_token_ids.empty())
    fail_field("allowed_token_ids",
               "allowed_token_ids: an empty list allows nothing; leave it out to allow all");
  out.logit_bias = logit_bias_of(fields);
  out.bad_words = strings_of(fields, "bad_words", kMaxBadWords);
  out.text.stop = strings_of(fields, "stop", kMaxStopStrings);
  out.text.include_stop = fields.boolean_or("include_stop_str_in_output", false);
  out.text.skip_special_tokens = fields.boolean_or("skip_special_tokens", true);
  out.text.min_tokens = out.min_tokens;
  out.constraint = constraint_of(fields);
  if (out.constraint && out.ignore_eos)
    fail_field(
        "ignore_eos",
        "ignore_eos and {} exclude each other: a constrained answer ends where it is complete",
        out.constraint->field);
  fields.ignore({"model",
                 "stream",
                 "user",
                 "metadata",
                 "store",
                 "service_tier",
                 "safety_identifier",
                 "prompt_cache_key",
                 "prompt_cache_retention",
                 "request_id",
                 "spaces_between_special_tokens",
                 "stream_interval",
                 "early_stopping",
                 "add_special_tokens"});
  return out;
}

namespace {

int max_tokens_of(const SamplingFields& fields,
                  const GenerationDefaults& defaults,
                  const ResolveLimits& limits) {
  const int64_t room = limits.max_model_len - limits.prompt_tokens;
  const int64_t needed = fields.max_tokens == 0 ? 0 : 1;
  if (room < needed)
    throw RequestError(ErrorCode::invalid_argument,
                       "prompt",
                       format("the prompt has {} tokens; this server's context is {} tokens, and "
                              "an answer needs at least one. "
                              "Shorten the prompt, or serve with a larger --max-model-len",
                              limits.prompt_tokens,
                              limits.max_model_len),
                       "context_length_exceeded");
  if (fields.max_tokens && *fields.max_tokens > room)
    throw RequestError(ErrorCode::invalid_argument,
                       "max_tokens",
                       format("max_tokens is {}, but a prompt of {} tokens leaves room for {} in a "
                              "context of {} tokens",
                              *fields.max_tokens,
                              limits.prompt_tokens,
                              room,
                              limits.max_model_len),
                       "context_length_exceeded");
  int64_t tokens = room;
  if (fields.max_tokens) {
    tokens = *fields.max_tokens;
  } else {
    if (limits.fallback_max_tokens > 0)
      tokens = std::min<int64_t>(tokens, limits.fallback_max_tokens);
    if (defaults.max_tokens) tokens = std::min<int64_t>(tokens, *defaults.max_tokens);
  }
  if (fields.min_tokens > tokens)
    fail_field("min_tokens", "min_tokens is {}, but max_tokens is {}", fields.min_tokens, tokens);
  return static_cast<int>(tokens);
}

void check_ids(const std::vector<int32_t>& ids, std::string_view field, int32_t vocab) {
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab)
      fail_field(field, "{}: token id {} is outside the vocabulary of {}", field, id, vocab);
}

// A word is forbidden both at the start of a text and behind a space, where it is written with
// other tokens.
std::vector<std::vector<int32_t>> token_sequences_of(const std::vector<std::string>& words,
                                                     const Tokenizer& tokenizer) {
  const EncodeOptions plain{.add_special_tokens = false, .parse_special = false};
  std::vector<std::vector<int32_t>> out;
  for (const std::string& word : words) {
    const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
    if (bare.empty()) fail_field("bad_words", "bad_words: a word of spaces only");
    const auto alone = tokenizer.encode(bare, plain);
    const auto spaced = tokenizer.encode(" " + bare, plain);
    if (!alone.empty()) out.push_back(alone);
    // Where the space is a token of its own, the bare form covers both.
    if (!spaced.empty() && spaced.size() == alone.size() && spaced[0] != alone[0])
      out.push_back(spaced);
  }
  return out;
}

}  // namespace

SamplingParams resolve(const SamplingFields& fields,
                       const GenerationDefaults& defaults,
                       const ResolveLimits& limits,
                       const Tokenizer& tokenizer) {
  SamplingParams out;
  out.temperature = fields.temperature.value_or(defaults.temperature);
  out.top_p = fields.top_p.value_or(defaults.top_p);
  out.top_k = fields.top_k.value_or(defaults.top_k);
  out.min_p = fields.min_p.value_or(defaults.min_p);
  out.repetition_penalty = fields.repetition_penalty.value_or(defaults.repetition_penalty);
  out.presence_penalty = fields.presence_penalty;
  out.frequency_penalty = fields.frequency_penalty;
  out.seed = fields.seed.value_or(limits.fallback_seed);
  out.max_tokens = max_tokens_of(fields, defaults, limits);
  out.min_tokens = fields.min_tokens;
  out.logprobs = fields.logprobs;
  out.prompt_logprobs = fields.prompt_logprobs;
  if (fields.echoes_logprobs) out.prompt_logprobs = std::max(out.prompt_logprobs, fields.logprobs);
  // What draws nothing reads its prompt, whether or not its scores are shown.
  if (out.max_tokens == 0) out.prompt_logprobs = std::max(out.prompt_logprobs, 0);
  const int32_t vocab = tokenizer.vocab_size();
  check_ids(fields.text.stop_token_ids, "stop_token_ids", vocab);
  check_ids(fields.allowed_token_ids, "allowed_token_ids", vocab);
  for (const auto& [id, bias] : fields.logit_bias) check_ids({id}, "logit_bias", vocab);
  // ignore_eos leaves out the model's own ids alone: those that the request names still end it, as
  // in vLLM.
  out.stop_token_ids = fields.text.stop_token_ids;
  if (!fields.ignore_eos)
    for (const int32_t id : defaults.eos_token_ids)
      if (std::find(out.stop_token_ids.begin(), out.stop_token_ids.end(), id) ==
          out.stop_token_ids.end())
        out.stop_token_ids.push_back(id);
  out.allowed_token_ids = fields.allowed_token_ids;
  out.logit_bias = fields.logit_bias;
  out.bad_words = token_sequences_of(fields.bad_words, tokenizer);
  return out;
}

}  // namespace quern

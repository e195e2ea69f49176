// SPDX-License-Identifier: Apache-2.0
// Which split patterns a name in tokenizer.ggml.pre stands for is the table of llama.cpp
// (src/llama-vocab.cpp, llm_tokenizer_bpe and llama_vocab::load). Where the published
// tokenizer.json of the family says more (the normal form of Qwen2, case folding in contractions),
// that is done, so that a GGUF file and its origin give equal ids.
#include "text/tokenizer/gguf_vocabulary.h"

#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/tokenizer_parts.h"

namespace quern {
namespace {

// Values of tokenizer.ggml.token_type (gguf-py, TokenType).
enum class TokenType : int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

constexpr std::string_view kGpt2Words[] = {patterns::kGpt2};
constexpr std::string_view kDigitsAndGpt2[] = {patterns::kNumber, patterns::kGpt2};
constexpr std::string_view kQwen2Words[] = {patterns::kQwen2};
constexpr std::string_view kLlama3Words[] = {patterns::kLlama3};
constexpr std::string_view kDeepSeekV3[] = {
    patterns::kUpToThreeNumbers, patterns::kKanaAndHan, patterns::kDeepSeekWords};
constexpr std::string_view kDeepSeekLlm[] = {
    R"([\r\n])",
    // Letters with case, spelled out as the family's tokenizer.json has them. Code points stand
    // where an editor that composes characters would turn a range around.
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)",
    R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)",
    patterns::kTrailingSpace,
    "[一-龥ࠀ-一가-\uD7FF]+",
    patterns::kNumber};
constexpr std::string_view kDeepSeekCoder[] = {
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[一-龥ࠀ-一가-\uD7FF]+", patterns::kNumber};
constexpr std::string_view kKimiWords[] = {patterns::kKimi};
constexpr std::string_view kDefault[] = {
    R"([\p{P}\$\+<=>\^~\|]+)", patterns::kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"};

struct Family {
  std::string_view pre;
  std::span<const std::string_view> splits;
  bool composes = false;  // normalizes to NFC
  bool ignores_merges = false;
  bool adds_bos = false;  // unless the file says otherwise
};

constexpr Family kFamilies[] = {
    {"", kDefault},
    {"default", kDefault},
    {"gpt-2", kGpt2Words},
    {"phi-2", kGpt2Words},
    {"smollm", kDigitsAndGpt2},
    {"starcoder", kDigitsAndGpt2},
    {"qwen2", kQwen2Words, true},
    {"deepseek-r1-qwen", kQwen2Words},
    {"hunyuan", kQwen2Words},
    {"llama-bpe", kLlama3Words, false, true, true},
    {"llama3", kLlama3Words, false, true, true},
    {"llama-v3", kLlama3Words, false, true, true},
    {"glm4", kLlama3Words},
    {"chatglm-bpe", kLlama3Words},
    {"deepseek-v3", kDeepSeekV3},
    {"hunyuan-dense", kDeepSeekV3},
    {"deepseek-llm", kDeepSeekLlm},
    {"deepseek-coder", kDeepSeekCoder},
    {"kimi-k2", kKimiWords, false, true},
};

const Family& find_family(std::string_view pre) {
  for (const Family& family : kFamilies)
    if (family.pre == pre) return family;
  fail(ErrorCode::unsupported,
       "tokenizer.ggml.pre: '{:.60}' is not a known pre-tokenizer; use the model's tokenizer.json",
       pre);
}

TokenType type_of(const GgufVocabulary& vocabulary, size_t id) {
  return vocabulary.token_types.empty() ? TokenType::normal : TokenType{vocabulary.token_types[id]};
}

void check_sizes(const GgufVocabulary& vocabulary) {
  if (vocabulary.model != "gpt2")
    fail(ErrorCode::unsupported,
         "tokenizer.ggml.model: '{:.60}' is not supported, only 'gpt2' (byte-level BPE)",
         vocabulary.model);
  const size_t tokens = vocabulary.tokens.size(), types = vocabulary.token_types.size();
  if (tokens == 0 || tokens > static_cast<size_t>(kMaxTokenId))
    fail(ErrorCode::data_loss,
         "tokenizer.ggml.tokens: {} tokens, expected 1..{}",
         tokens,
         kMaxTokenId);
  if (types != 0 && types != tokens)
    fail(ErrorCode::data_loss, "tokenizer.ggml.token_type: {} types for {} tokens", types, tokens);
}

void read_tokens(const GgufVocabulary& vocabulary, TokenizerParts& parts) {
  parts.vocabulary.tokens.resize(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& name = vocabulary.tokens[id];
    if (name.empty()) continue;  // an id without a token
    parts.add_token(static_cast<int32_t>(id), name);
    const TokenType type = type_of(vocabulary, id);
    if (type == TokenType::normal || type == TokenType::byte) continue;
    parts.vocabulary.tokens[id].is_mergeable = false;
    if (type == TokenType::unused) continue;  // padding of the embedding matrix
    AddedToken token;
    token.content = name;
    token.is_special = type != TokenType::user_defined;
    parts.add_added_token(std::move(token));
  }
}

void read_merges(const GgufVocabulary& vocabulary, TokenizerParts& parts) {
  for (const std::string_view merge : vocabulary.merges) {
    const size_t space = merge.find(' ');
    if (space == 0 || space == std::string_view::npos)
      fail(ErrorCode::data_loss,
           "tokenizer.ggml.merges: '{:.60}' is not two tokens with a space between",
           merge);
    with_context("tokenizer.ggml.merges",
                 [&] { parts.add_merge(merge.substr(0, space), merge.substr(space + 1)); });
  }
}

std::optional<int32_t> checked_id(int32_t id, size_t count, std::string_view key) {
  if (id == -1) return std::nullopt;
  if (id < 0 || static_cast<size_t>(id) >= count)
    fail(ErrorCode::data_loss, "tokenizer.ggml.{}: id {} is outside 0..{}", key, id, count - 1);
  return id;
}

TokenTemplate template_of(const GgufVocabulary& vocabulary,
                          const Family& family,
                          const TokenizerParts& parts) {
  TokenTemplate around;
  if (vocabulary.add_bos.value_or(family.adds_bos) && parts.bos)
    around.before.push_back(*parts.bos);
  if (vocabulary.add_eos.value_or(false) && parts.eos) around.after.push_back(*parts.eos);
  return around;
}

// What stands around a text, by the name of each token.
Json post_processor_json(const GgufVocabulary& vocabulary,
                         const TokenTemplate& around,
                         const Json& bytes) {
  if (around.before.empty() && around.after.empty()) return bytes;
  Json single = Json::array(), tokens = Json::object();
  const auto add = [&](const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) {
      const std::string& name = vocabulary.tokens[static_cast<size_t>(id)];
      single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
      tokens[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
    }
  };
  add(around.before);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(around.after);
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "Sequence"},
          {"processors",
           {bytes,
            {{"type", "TemplateProcessing"},
             {"single", std::move(single)},
             {"pair", std::move(pair)},
             {"special_tokens", std::move(tokens)}}}}};
}

}  // namespace

Tokenizer Tokenizer::from_gguf_vocabulary(const GgufVocabulary& vocabulary) {
  check_sizes(vocabulary);
  const Family& family = find_family(vocabulary.pre);
  TokenizerParts parts;
  read_tokens(vocabulary, parts);
  read_merges(vocabulary, parts);
  parts.vocabulary.ignores_merges = family.ignores_merges;
  if (family.composes) parts.normalizer.add({});
  for (const std::string_view split : family.splits) parts.pre_tokenizer.add(split_at_regex(split));
  const size_t count = vocabulary.tokens.size();
  parts.bos = checked_id(vocabulary.bos, count, "bos_token_id");
  parts.eos = checked_id(vocabulary.eos, count, "eos_token_id");
  parts.pad = checked_id(vocabulary.pad, count, "padding_token_id");
  parts.post_processor.add(template_of(vocabulary, family, parts));
  return Tokenizer(std::move(parts));
}

std::string tokenizer_json_of(const GgufVocabulary& vocabulary) {
  check_sizes(vocabulary);
  const Family& family = find_family(vocabulary.pre);
  TokenizerParts parts;  // for its checks of ids and merges
  read_tokens(vocabulary, parts);
  read_merges(vocabulary, parts);
  const size_t count = vocabulary.tokens.size();
  parts.bos = checked_id(vocabulary.bos, count, "bos_token_id");
  parts.eos = checked_id(vocabulary.eos, count, "eos_token_id");
  const TokenTemplate around = template_of(vocabulary, family, parts);

  Json words = Json::array();
  for (const std::string_view split : family.splits)
    words.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", split}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", false}};
  words.push_back(bytes);
  Json added = Json::array();
  for (size_t id = 0; id < count; ++id) {
    const TokenType type = type_of(vocabulary, id);
    const bool is_added =
        type == TokenType::unknown || type == TokenType::control || type == TokenType::user_defined;
    if (vocabulary.tokens[id].empty() || !is_added) continue;
    added.push_back({{"id", id},
                     {"content", vocabulary.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != TokenType::user_defined}});
  }
  const Json head = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", std::move(added)},
                     {"normalizer", family.composes ? Json{{"type", "NFC"}} : Json()},
                     {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", words}}},
                     {"post_processor", post_processor_json(vocabulary, around, bytes)},
                     {"decoder", bytes}};
  // Large objects are written as text: inserting keys into Json is quadratic.
  std::string out = head.dump();
  out.pop_back();
  out += format(
      R"(,"model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":{},"vocab":{{)",
      family.ignores_merges);
  bool is_first = true;
  for (size_t id = 0; id < count; ++id) {
    if (vocabulary.tokens[id].empty()) continue;
    out += format("{}{}:{}", is_first ? "" : ",", Json(vocabulary.tokens[id]).dump(), id);
    is_first = false;
  }
  return out + format(R"(}},"merges":{}}}}})", Json(vocabulary.merges).dump());
}

}  // namespace quern

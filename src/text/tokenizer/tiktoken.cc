// SPDX-License-Identifier: Apache-2.0
// tiktoken.model: lines of "BASE64 RANK". The rules around it are Kimi's (tokenization_kimi.py: its
// own split pattern, 256 ids after the ranks are special), or those of GLM's older files
// (tokenization_chatglm.py: GPT-4's split pattern, special tokens where tokenizer_config.json has
// them). Nothing is normalized and nothing is put around the text.
#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "base/error.h"
#include "text/tokenizer/byte_alphabet.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/tokenizer_parts.h"

namespace quern {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
// Every cut of every token is looked up once, so the work grows with the square of this. Published
// tokens have up to 128.
constexpr size_t kMaxRankedBytes = 256;
constexpr int32_t kReservedIds = 256;

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Nothing if `text` is not base64 with its padding.
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  text = text.substr(0, text.find_last_not_of('=') + 1);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count);
  }
  return count < 6 ? std::optional(std::move(bytes)) : std::nullopt;
}

// Cuts the first line off `text`; a carriage return at its end is dropped.
std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

void read_rank(std::string_view line, size_t number, TokenizerParts& parts) {
  const size_t space = std::min(line.find(' '), line.size());
  const auto bytes = decode_base64(line.substr(0, space));
  int32_t rank = -1;
  const char* end = line.data() + line.size();
  const auto parsed = std::from_chars(line.data() + std::min(space + 1, line.size()), end, rank);
  if (!bytes || bytes->empty() || bytes->size() > kMaxRankedBytes || parsed.ec != std::errc() ||
      parsed.ptr != end)
    fail(ErrorCode::data_loss,
         "line {}: expected base64 of 1 to {} bytes, a space and a rank",
         number,
         kMaxRankedBytes);
  parts.add_token(rank, alphabet_of_bytes(*bytes));
}

// Ranks are ids, so none may be missing; and each byte must be a token, or some texts could not be
// written.
void check_ranks(const TokenizerParts& parts) {
  for (size_t id = 0; id < parts.vocabulary.tokens.size(); ++id)
    if (parts.vocabulary.tokens[id].bytes.empty())
      fail(ErrorCode::data_loss, "rank {} is missing", id);
  for (int byte = 0; byte < 256; ++byte)
    if (!parts.find(alphabet_of_bytes(std::string(1, static_cast<char>(byte)))))
      fail(ErrorCode::data_loss, "the byte {:#04x} is not a token", byte);
}

void add_reserved(const TokenizerConfig& config, TokenizerParts& parts) {
  std::map<int32_t, const AddedToken*> named;
  for (const AddedToken& token : config.added) named[token.id] = &token;
  const auto first = static_cast<int32_t>(parts.vocabulary.tokens.size());
  for (int32_t id = first; id < first + kReservedIds; ++id) {
    AddedToken token;
    token.is_special = true;
    if (const auto entry = named.find(id); entry != named.end()) token = *entry->second;
    if (token.content.empty()) token.content = format("<|reserved_token_{}|>", id);
    token.id = id;
    parts.added.add(std::move(token));
  }
}

void add_named(const TokenizerConfig& config, TokenizerParts& parts) {
  const auto first = static_cast<int32_t>(parts.vocabulary.tokens.size());
  for (const AddedToken& token : config.added) {
    if (token.id < first || token.id > kMaxTokenId)
      fail(ErrorCode::data_loss,
           "tokenizer_config.json: added_tokens_decoder: \"{}\" has id {}: expected {} to {}, past "
           "the ranks",
           token.content.substr(0, 64),
           token.id,
           first,
           kMaxTokenId);
    parts.added.add(token);
  }
}

}  // namespace

Tokenizer Tokenizer::from_tiktoken(std::string_view ranks, std::string_view config_json) {
  if (ranks.size() > kMaxFileBytes)
    fail(ErrorCode::data_loss,
         "tiktoken.model: {} bytes, the limit is {}",
         ranks.size(),
         kMaxFileBytes);
  const TokenizerConfig config = parse_tokenizer_config(config_json);
  TokenizerParts parts;
  with_context("tiktoken.model", [&] {
    for (size_t number = 1; !ranks.empty(); ++number)
      if (const std::string_view line = take_line(ranks); !line.empty())
        read_rank(line, number, parts);
    check_ranks(parts);
  });
  parts.vocabulary.merges = merges_of_ranks(parts.vocabulary.tokens);
  parts.vocabulary.ignores_merges = true;
  parts.follows_kimi = !config.tokenizer_class.starts_with("ChatGLM");
  if (parts.follows_kimi)
    add_reserved(config, parts);
  else
    add_named(config, parts);
  const std::string_view pattern = parts.follows_kimi ? patterns::kKimi : patterns::kLlama3;
  parts.pre_tokenizer.add(
      split_at_regex(config.split_pattern.empty() ? pattern : config.split_pattern));
  const auto find = [&](const std::optional<std::string>& name) {
    return name ? parts.find(*name) : std::nullopt;
  };
  parts.bos = find(config.bos);
  parts.eos = find(config.eos);
  parts.pad = find(config.pad);
  return Tokenizer(std::move(parts));
}

}  // namespace quern

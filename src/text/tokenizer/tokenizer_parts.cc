// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/tokenizer_parts.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/tokenizer/byte_alphabet.h"

namespace quern {

bool TokenizerParts::add_added_token(AddedToken token) {
  if (token.content.empty() || added.find(token.content)) return true;
  const int32_t said = token.id;
  const auto in_vocabulary = ids.find(token.content);
  token.id = in_vocabulary != ids.end() ? in_vocabulary->second
                                        : std::max(added_end_, static_cast<int32_t>(ids.size()));
  if (token.id > kMaxTokenId || token.content.size() > kMaxTokenBytes)
    fail(ErrorCode::data_loss,
         "added token {:.40}: id {} or its {} bytes are out of range",
         token.content,
         token.id,
         token.content.size());
  added_end_ = std::max(added_end_, token.id + 1);
  const bool agrees = said < 0 || said == token.id;
  added.add(std::move(token));
  return agrees;
}

void TokenizerParts::add_token(int32_t id, std::string_view name) {
  if (id < 0 || id > kMaxTokenId)
    fail(ErrorCode::data_loss, "token {:.40}: id {} is outside 0..{}", name, id, kMaxTokenId);
  if (name.size() > kMaxTokenBytes)
    fail(ErrorCode::data_loss,
         "token {}: a name of {} bytes, the limit is {}",
         id,
         name.size(),
         kMaxTokenBytes);
  auto& tokens = vocabulary.tokens;
  if (static_cast<size_t>(id) >= tokens.size()) tokens.resize(id + 1);
  if (!tokens[id].bytes.empty() || !ids.emplace(name, id).second)
    fail(ErrorCode::data_loss,
         "token {:.40}: its name or its id {} is taken by another token",
         name,
         id);
  auto bytes = bytes_of_alphabet(name);
  tokens[id].is_mergeable = bytes && !bytes->empty();
  tokens[id].bytes = bytes ? std::move(*bytes) : std::string(name);
}

void TokenizerParts::add_merge(std::string_view left, std::string_view right) {
  auto& merges = vocabulary.merges;
  if (merges.size() >= kMaxMerges) fail(ErrorCode::data_loss, "more than {} merges", kMaxMerges);
  const auto id_of = [&](std::string_view name) {
    const auto entry = ids.find(name);
    if (entry == ids.end())
      fail(ErrorCode::data_loss,
           "merge {} needs the token '{:.60}', which is not in the vocabulary",
           merges.size(),
           name);
    return entry->second;
  };
  const int32_t whole = id_of(std::string(left).append(right));
  merges.push_back({id_of(left), id_of(right), whole, static_cast<int32_t>(merges.size())});
}

std::optional<int32_t> TokenizerParts::find(std::string_view name) const {
  if (const AddedToken* token = added.find(name)) return token->id;
  const auto entry = ids.find(name);
  if (entry == ids.end()) return std::nullopt;
  return entry->second;
}

}  // namespace quern

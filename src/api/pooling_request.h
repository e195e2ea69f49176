// SPDX-License-Identifier: Apache-2.0
// POST /v1/embeddings, /classify, /score and /rerank, as they come over the wire: vLLM's fields,
// with OpenAI's, Jina's and Cohere's among them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/chat_request.h"
#include "api/text_or_tokens.h"

namespace quern {

// What all four share.
struct PoolingFields {
  std::string model;                          // empty: the served one
  std::optional<int> truncate_prompt_tokens;  // so many are kept; -1: as many as fit
  bool keeps_end = false;                     // of a prompt that is cut the end, not the beginning
  // Normalization of an embedding, sigmoid or softmax of scores; absent: as the model is served.
  std::optional<bool> is_activated;
  int priority = 0;
  std::string cache_salt;  // empty: none

  static PoolingFields parse(FieldReader& fields);
};

// Prompts, or one conversation.
struct PoolingInputs {
  std::vector<TextOrTokens> texts;  // or
  std::optional<ChatMessages> chat;
  bool add_special_tokens = true;  // of the texts

  static PoolingInputs parse(FieldReader& fields);
};

struct EmbeddingRequest {
  PoolingFields common;
  PoolingInputs inputs;
  std::optional<int64_t> dimensions;
  bool is_base64 = false;

  static EmbeddingRequest parse(const Json& body, std::vector<std::string>* ignored = nullptr);
};

struct ClassifyRequest {
  PoolingFields common;
  PoolingInputs inputs;

  static ClassifyRequest parse(const Json& body, std::vector<std::string>* ignored = nullptr);
};

// Pairs: `first` has one text, or as many as `second`.
struct ScoreRequest {
  PoolingFields common;
  std::vector<std::string> first, second;
  const char *first_field = "text_1", *second_field = "text_2";  // as the request calls them

  static ScoreRequest parse(const Json& body, std::vector<std::string>* ignored = nullptr);
};

struct RerankRequest {
  PoolingFields common;
  std::string query;
  std::vector<std::string> documents;
  size_t top_n = 0;  // 0: all
  bool return_documents = true;

  static RerankRequest parse(const Json& body, std::vector<std::string>* ignored = nullptr);
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// ApiKeys: who may ask, for what, and how much at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_types.h"

namespace quern {

// What a key opens; a set of bits. `infer`: everything that reads or uses the model; `metrics`:
// /metrics and /load; `admin`: what tells of or changes the server itself.
enum class Scope : uint8_t { infer = 1, metrics = 2, admin = 4 };
constexpr uint8_t kDefaultScopes = 3;  // infer and metrics

std::string_view name_of(Scope scope);
// "infer,metrics" → bits. Throws invalid_argument naming an unknown word.
uint8_t parse_scopes(std::string_view words);

class ApiKeys {
 public:
  // One key. Only its hash is kept.
  class Holder {
   public:
    bool may(Scope scope) const { return (scopes_ & static_cast<uint8_t>(scope)) != 0; }
    int running() const { return running_; }

   private:
    friend class ApiKeys;
    friend class KeySlot;
    std::array<uint8_t, 32> hash_{};
    uint8_t scopes_ = 0;
    mutable std::atomic<int> running_ = 0;
  };

  ApiKeys();  // none: everyone may
  explicit ApiKeys(const std::vector<std::string>& keys);
  ApiKeys(ApiKeys&&) noexcept;
  ApiKeys& operator=(ApiKeys&&) noexcept;
  ~ApiKeys();

  // Throws invalid_argument for an empty key, one with blanks or control characters, one that is
  // there already, or more than 10,000.
  void add(std::string_view key, uint8_t scopes = kDefaultScopes);
  // A file of lines "KEY [SCOPE,…]"; blank ones and those that begin with '#' are passed over.
  // Throws not_found if it cannot be read, invalid_argument naming the line.
  void add_file(const std::string& path);

  bool is_required() const { return !holders_.empty(); }
  // Whose key a request carries, as "Authorization: Bearer KEY" or "x-api-key: KEY"; null:
  // nobody's. All keys are compared, in a time that tells nothing about them.
  const Holder* find(const HttpRequest& request) const;

 private:
  std::vector<std::unique_ptr<Holder>> holders_;
};

// One of the requests that a key may run at a time, from construction to destruction.
class KeySlot {
 public:
  KeySlot() = default;
  // `holder` may be null: then nothing is counted. `limit` 0: any number.
  KeySlot(const ApiKeys::Holder* holder, int limit);
  ~KeySlot();
  KeySlot(const KeySlot&) = delete;
  KeySlot& operator=(const KeySlot&) = delete;

  bool is_taken() const { return is_taken_; }

 private:
  const ApiKeys::Holder* holder_ = nullptr;
  bool is_taken_ = true;
};

}  // namespace quern

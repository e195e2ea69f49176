// SPDX-License-Identifier: Apache-2.0
// ResponseStore: the answers of /v1/responses that clients may ask for again, and their
// conversations. In memory, bounded; the least recently used go first.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace quern {

struct StoredResponse {
  std::string owner;         // the API key that it was made with; nobody else sees it
  std::string body;          // JSON of the response object
  std::string input;         // JSON of the list of items that the model was given
  std::string conversation;  // the same and the items of the answer

  size_t bytes() const {
    return sizeof(StoredResponse) + owner.size() + body.size() + input.size() + conversation.size();
  }
};

// Safe to use from several threads at once.
class ResponseStore {
 public:
  ResponseStore(size_t max_count, size_t max_bytes)
      : max_count_(max_count), max_bytes_(max_bytes) {}

  // One that is too large alone is not kept.
  void put(const std::string& id, StoredResponse response);
  // Null if there is none of that owner.
  std::shared_ptr<const StoredResponse> get(const std::string& id, std::string_view owner);
  bool erase(const std::string& id, std::string_view owner);

  size_t count() const;
  size_t bytes() const;

 private:
  struct Entry {
    std::string id;
    std::shared_ptr<const StoredResponse> response;
  };
  using Entries = std::list<Entry>;  // the most recently used first

  Entries::iterator find(const std::string& id, std::string_view owner);
  void remove(Entries::iterator entry);

  const size_t max_count_, max_bytes_;
  mutable std::mutex mutex_;
  Entries entries_;
  std::unordered_map<std::string, Entries::iterator> by_id_;
  size_t bytes_ = 0;
};

}  // namespace quern

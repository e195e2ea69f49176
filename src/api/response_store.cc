// SPDX-License-Identifier: Apache-2.0
#include "api/response_store.h"

namespace quern {

void ResponseStore::put(const std::string& id, StoredResponse response) {
  const size_t size = response.bytes();
  if (max_count_ == 0 || size > max_bytes_) return;
  auto shared = std::make_shared<const StoredResponse>(std::move(response));
  const std::lock_guard lock(mutex_);
  if (const auto old = by_id_.find(id); old != by_id_.end()) remove(old->second);
  entries_.push_front({id, std::move(shared)});
  by_id_[id] = entries_.begin();
  bytes_ += size;
  while (entries_.size() > max_count_ || bytes_ > max_bytes_) remove(std::prev(entries_.end()));
}

std::shared_ptr<const StoredResponse> ResponseStore::get(const std::string& id,
                                                         std::string_view owner) {
  const std::lock_guard lock(mutex_);
  const auto entry = find(id, owner);
  if (entry == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, entry);
  return entry->response;
}

bool ResponseStore::erase(const std::string& id, std::string_view owner) {
  const std::lock_guard lock(mutex_);
  const auto entry = find(id, owner);
  if (entry == entries_.end()) return false;
  remove(entry);
  return true;
}

size_t ResponseStore::count() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

size_t ResponseStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

ResponseStore::Entries::iterator ResponseStore::find(const std::string& id,
                                                     std::string_view owner) {
  const auto found = by_id_.find(id);
  const bool is_theirs = found != by_id_.end() && found->second->response->owner == owner;
  return is_theirs ? found->second : entries_.end();
}

void ResponseStore::remove(Entries::iterator entry) {
  bytes_ -= entry->response->bytes();
  by_id_.erase(entry->id);
  entries_.erase(entry);
}

}  // namespace quern

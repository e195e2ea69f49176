// SPDX-License-Identifier: Apache-2.0
// MediaCache: decoded and resized media by their content, so that a conversation which shows its
// pictures again on every turn does not have them decoded again on every turn.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "prompt/resized_media.h"

namespace quern {

// SHA-256: whoever finds two inputs of one key would have one user's picture shown to another.
using MediaKey = std::array<std::byte, 32>;

class MediaKeyMaker {
 public:
  MediaKeyMaker();
  ~MediaKeyMaker();
  MediaKeyMaker(const MediaKeyMaker&) = delete;
  MediaKeyMaker& operator=(const MediaKeyMaker&) = delete;

  // With its length, so that "ab", "c" and "a", "bc" are different.
  void add(std::span<const std::byte> bytes);
  void add(int64_t number) { add(std::as_bytes(std::span(&number, 1))); }
  void add(double number) { add(std::as_bytes(std::span(&number, 1))); }
  MediaKey key();

 private:
  void* context_;
};

struct MediaCacheStats {
  int64_t queries = 0, hits = 0;  // media; who waits for another one's decoding hits
  size_t bytes = 0;
};

// Safe from several threads at once.
class MediaCache {
 public:
  using Value = std::shared_ptr<const SharedMedia>;

  // At most so many bytes are kept, the least recently used go first. What is larger alone is made
  // and not kept.
  explicit MediaCache(size_t max_bytes) : max_bytes_(max_bytes) {}

  // What is kept under `key`, else what `make` makes: once, however many ask for it at one time. An
  // Error that leaves `make` is thrown to all of them; nothing is kept of it.
  Value find_or_make(const MediaKey& key, const std::function<Value()>& make);
  MediaCacheStats stats() const;

 private:
  struct Making {
    bool is_done = false;
    Value value;
    std::optional<Error> error;
  };
  struct Entry {
    Value value;
    std::list<MediaKey>::iterator place;  // in recent_
  };

  Value wait_for(const std::shared_ptr<Making>& making, std::unique_lock<std::mutex>& lock);
  void keep(const MediaKey& key, const Value& value);

  const size_t max_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable done_;
  std::map<MediaKey, Entry> entries_;
  std::map<MediaKey, std::shared_ptr<Making>> makings_;
  std::list<MediaKey> recent_;  // the most recently used first
  MediaCacheStats stats_;
};

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// The hashes by which the hub names content: SHA-256 of large files (Git LFS), and git's own blob
// hash (SHA-1 over "blob SIZE\0" and the bytes) of all others. They are checked while bytes arrive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace quern {

// The kind that a hash in lower-case hex digits can be, by its length; false if it is neither.
bool is_content_hash(std::string_view hex);

class ContentHash {
 public:
  // Of the kind of `expected` (is_content_hash); git's hash needs the size beforehand.
  ContentHash(std::string_view expected, int64_t size_bytes);
  ~ContentHash();
  ContentHash(ContentHash&&) noexcept;
  ContentHash& operator=(ContentHash&&) noexcept;

  void add(std::span<const std::byte> bytes);
  std::string finish();  // hex digits; nothing may be added afterwards

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The hash of a file, of the kind of `expected`. Throws not_found or unavailable.
std::string content_hash_of_file(const std::string& path, std::string_view expected);

}  // namespace quern

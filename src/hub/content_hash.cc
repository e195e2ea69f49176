// SPDX-License-Identifier: Apache-2.0
#include "hub/content_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kSha1Digits = 40, kSha256Digits = 64;
constexpr size_t kBufferBytes = size_t{1} << 20;

}  // namespace

struct ContentHash::State {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};
};

bool is_content_hash(std::string_view hex) {
  return (hex.size() == kSha1Digits || hex.size() == kSha256Digits) &&
         std::ranges::all_of(
             hex, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

ContentHash::ContentHash(std::string_view expected, int64_t size_bytes)
    : state_(std::make_unique<State>()) {
  QUERN_CHECK(is_content_hash(expected), "{}", expected);
  const bool is_git = expected.size() == kSha1Digits;
  if (EVP_DigestInit_ex(state_->context.get(), is_git ? EVP_sha1() : EVP_sha256(), nullptr) != 1)
    fail(ErrorCode::internal, "libcrypto offers no {}", is_git ? "SHA-1" : "SHA-256");
  if (!is_git) return;
  const std::string header = format("blob {}", size_bytes);
  add(std::as_bytes(std::span(header.c_str(), header.size() + 1)));
}

ContentHash::~ContentHash() = default;
ContentHash::ContentHash(ContentHash&&) noexcept = default;
ContentHash& ContentHash::operator=(ContentHash&&) noexcept = default;

void ContentHash::add(std::span<const std::byte> bytes) {
  QUERN_CHECK(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
}

std::string ContentHash::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  QUERN_CHECK(EVP_DigestFinal_ex(state_->context.get(), digest.data(), &size) == 1);
  std::string out;
  for (unsigned int i = 0; i < size; ++i) out += format("{:02x}", digest[i]);
  return out;
}

std::string content_hash_of_file(const std::string& path, std::string_view expected) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorCode::not_found, "{}: cannot be opened", path);
  ContentHash hash(expected, static_cast<int64_t>(std::filesystem::file_size(path)));
  std::vector<char> buffer(kBufferBytes);
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount() > 0)
    hash.add(std::as_bytes(std::span(buffer.data(), static_cast<size_t>(file.gcount()))));
  if (file.bad()) fail(ErrorCode::unavailable, "{}: cannot be read", path);
  return hash.finish();
}

}  // namespace quern

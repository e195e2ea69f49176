// SPDX-License-Identifier: Apache-2.0
#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/log.h"

namespace quern {
namespace {

constexpr size_t kMaxKeys = 10'000, kMaxKeyBytes = 4096;
constexpr Scope kScopes[] = {Scope::infer, Scope::metrics, Scope::admin};

std::array<uint8_t, 32> hash_of(std::string_view key) {
  std::array<uint8_t, 32> out{};
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), out.data());
  return out;
}

std::string_view given_key(const HttpRequest& request) {
  constexpr std::string_view kScheme = "bearer ";
  std::string_view given = request.header("authorization");
  if (given.empty()) return request.header("x-api-key");
  if (to_lower(given.substr(0, kScheme.size())) != kScheme) return {};
  given.remove_prefix(kScheme.size());
  while (given.starts_with(' ')) given.remove_prefix(1);
  return given;
}

std::string_view next_word(std::string_view& text) {
  constexpr std::string_view kBlank = " \t\r";
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(kBlank));
  text.remove_prefix(word.size());
  return word;
}

void warn_if_others_can_read(const std::string& path) {
  struct stat found {};
  if (stat(path.c_str(), &found) == 0 && (found.st_mode & (S_IROTH | S_IWOTH)) != 0)
    log(LogLevel::warn,
        "--api-key-file {}: every user of this machine can read it; chmod 600",
        path);
}

}  // namespace

std::string_view name_of(Scope scope) {
  switch (scope) {
    case Scope::infer:
      return "infer";
    case Scope::metrics:
      return "metrics";
    case Scope::admin:
      return "admin";
  }
  return "?";
}

uint8_t parse_scopes(std::string_view words) {
  unsigned out = 0;
  while (!words.empty()) {
    const std::string_view word = words.substr(0, words.find(','));
    words.remove_prefix(std::min(word.size() + 1, words.size()));
    const auto is_word = [word](Scope scope) { return name_of(scope) == word; };
    const auto known = std::find_if(std::begin(kScopes), std::end(kScopes), is_word);
    if (known == std::end(kScopes))
      fail(ErrorCode::invalid_argument,
           "\"{}\" is no scope; expected infer, metrics or admin, with commas between them",
           printable(word, 32));
    out |= static_cast<unsigned>(*known);
  }
  return static_cast<uint8_t>(out);
}

ApiKeys::ApiKeys() = default;
ApiKeys::ApiKeys(ApiKeys&&) noexcept = default;
ApiKeys& ApiKeys::operator=(ApiKeys&&) noexcept = default;
ApiKeys::~ApiKeys() = default;

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) add(key);
}

void ApiKeys::add(std::string_view key, uint8_t scopes) {
  const auto is_odd = [](char c) { return c <= ' ' || c > '~'; };
  if (key.empty()) fail(ErrorCode::invalid_argument, "an API key is empty");
  if (key.size() > kMaxKeyBytes || std::any_of(key.begin(), key.end(), is_odd))
    fail(ErrorCode::invalid_argument,
         "an API key has blanks or characters outside ASCII, or more than {} bytes",
         kMaxKeyBytes);
  if (holders_.size() == kMaxKeys)
    fail(ErrorCode::invalid_argument, "more than {} API keys", kMaxKeys);
  auto holder = std::make_unique<Holder>();
  holder->hash_ = hash_of(key);
  holder->scopes_ = scopes;
  for (const auto& other : holders_)
    if (other->hash_ == holder->hash_)
      fail(ErrorCode::invalid_argument, "an API key is given twice");
  holders_.push_back(std::move(holder));
}

void ApiKeys::add_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail(ErrorCode::not_found, "--api-key-file {}: cannot be read", path);
  warn_if_others_can_read(path);
  const size_t before = holders_.size();
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::string_view rest = line;
    const std::string_view key = next_word(rest);
    if (key.empty() || key.starts_with('#')) continue;
    const std::string_view scopes = next_word(rest);
    with_context(format("--api-key-file {} line {}", path, number), [&] {
      if (!next_word(rest).empty())
        fail(ErrorCode::invalid_argument, "expected \"KEY [SCOPE,…]\", got more words");
      add(key, scopes.empty() ? kDefaultScopes : parse_scopes(scopes));
    });
  }
  // An empty file must not open the server to everyone.
  if (holders_.size() == before)
    fail(ErrorCode::invalid_argument, "--api-key-file {}: there is no key in it", path);
}

const ApiKeys::Holder* ApiKeys::find(const HttpRequest& request) const {
  const auto hash = hash_of(given_key(request));
  const Holder* found = nullptr;
  for (const auto& holder : holders_)
    if (CRYPTO_memcmp(hash.data(), holder->hash_.data(), hash.size()) == 0) found = holder.get();
  return found;
}

KeySlot::KeySlot(const ApiKeys::Holder* holder, int limit) : holder_(holder) {
  if (!holder_) return;
  is_taken_ = ++holder_->running_ <= limit || limit <= 0;
}

KeySlot::~KeySlot() {
  if (holder_) --holder_->running_;
}

}  // namespace quern

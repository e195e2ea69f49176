// SPDX-License-Identifier: Apache-2.0
#include "prompt/media_cache.h"

#include <openssl/evp.h>

namespace quern {
namespace {

EVP_MD_CTX* context_of(void* context) {
  return static_cast<EVP_MD_CTX*>(context);
}

void check(int is_ok) {
  if (is_ok != 1) fail(ErrorCode::internal, "SHA-256 cannot be computed");
}

}  // namespace

MediaKeyMaker::MediaKeyMaker() : context_(EVP_MD_CTX_new()) {
  if (!context_) throw std::bad_alloc();
  check(EVP_DigestInit_ex(context_of(context_), EVP_sha256(), nullptr));
}

MediaKeyMaker::~MediaKeyMaker() {
  EVP_MD_CTX_free(context_of(context_));
}

void MediaKeyMaker::add(std::span<const std::byte> bytes) {
  const uint64_t size = bytes.size();
  check(EVP_DigestUpdate(context_of(context_), &size, sizeof size));
  check(EVP_DigestUpdate(context_of(context_), bytes.data(), bytes.size()));
}

MediaKey MediaKeyMaker::key() {
  MediaKey out;
  check(EVP_DigestFinal_ex(
      context_of(context_), reinterpret_cast<unsigned char*>(out.data()), nullptr));
  return out;
}

MediaCache::Value MediaCache::wait_for(const std::shared_ptr<Making>& making,
                                       std::unique_lock<std::mutex>& lock) {
  done_.wait(lock, [&] { return making->is_done; });
  if (making->error) throw Error(*making->error);  // a copy: each thread adds its own context
  if (!making->value)
    fail(ErrorCode::exhausted, "another request could not decode the same medium");
  ++stats_.hits;
  return making->value;
}

MediaCache::Value MediaCache::find_or_make(const MediaKey& key,
                                           const std::function<Value()>& make) {
  std::unique_lock lock(mutex_);
  ++stats_.queries;
  if (const auto found = entries_.find(key); found != entries_.end()) {
    ++stats_.hits;
    recent_.splice(recent_.begin(), recent_, found->second.place);
    return found->second.value;
  }
  if (const auto found = makings_.find(key); found != makings_.end())
    return wait_for(std::shared_ptr(found->second), lock);
  const auto making = std::make_shared<Making>();
  makings_.emplace(key, making);
  lock.unlock();
  const auto finish = [&] {  // whoever waits goes on, whatever has happened here
    lock.lock();
    making->is_done = true;
    makings_.erase(key);
    if (making->value) keep(key, making->value);
    lock.unlock();
    done_.notify_all();
  };
  try {
    making->value = make();
  } catch (const Error& e) {
    making->error = e;
    finish();
    throw;
  } catch (...) {
    finish();
    throw;
  }
  finish();
  return making->value;
}

void MediaCache::keep(const MediaKey& key, const Value& value) {
  const size_t bytes = value->resized().bytes();
  if (bytes > max_bytes_) return;
  while (stats_.bytes + bytes > max_bytes_) {
    const auto oldest = entries_.find(recent_.back());
    stats_.bytes -= oldest->second.value->resized().bytes();
    entries_.erase(oldest);
    recent_.pop_back();
  }
  recent_.push_front(key);
  entries_.emplace(key, Entry{value, recent_.begin()});
  stats_.bytes += bytes;
}

MediaCacheStats MediaCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// libcurl, with every connection judged by its address: a name that resolves to a private address
// is refused when it connects, so it does not matter what it resolved to before.
#include "prompt/fetch.h"

#include <curl/curl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>

#include "base/error.h"

namespace quern {
namespace {

constexpr int kMaxRedirects = 5;

struct CleanUp {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(char* text) const { curl_free(text); }
};
using Curl = std::unique_ptr<CURL, CleanUp>;
using Url = std::unique_ptr<CURLU, CleanUp>;

// What the callbacks of one fetch need.
struct Fetch {
  const FetchLimits& limits;
  std::string body;
  bool is_too_large = false, is_refused_address = false;
};

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& fetch = *static_cast<Fetch*>(user);
  const size_t bytes = size * count;
  if (bytes > fetch.limits.max_bytes - fetch.body.size()) {
    fetch.is_too_large = true;
    return 0;
  }
  fetch.body.append(data, bytes);
  return bytes;
}

curl_socket_t on_connect(void* user, curlsocktype, curl_sockaddr* address) {
  auto& fetch = *static_cast<Fetch*>(user);
  if (!fetch.limits.is_allowed_address(address->addr)) {
    fetch.is_refused_address = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

std::string part_of(const Url& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, 0) != CURLUE_OK) return {};
  return std::unique_ptr<char, CleanUp>(text).get();
}

// Parsed by the same parser that connects, so that both see one host.
Url parse_allowed(const std::string& text, const FetchLimits& limits) {
  Url url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
    fail(ErrorCode::invalid_argument, "not a URL that can be fetched");
  const std::string scheme = part_of(url, CURLUPART_SCHEME), host = part_of(url, CURLUPART_HOST);
  if (scheme != "http" && scheme != "https")
    fail(ErrorCode::invalid_argument,
         "leads to the scheme \"{}\"; only http and https are fetched",
         scheme);
  if (limits.allowed_domains.empty())
    fail(ErrorCode::invalid_argument,
         "fetching from \"{}\" is not allowed: no media domains are; send a data: URL, or let "
         "whoever runs the server allow the domain",
         host);
  if (!is_allowed_host(host, limits.allowed_domains))
    fail(ErrorCode::invalid_argument,
         "fetching from \"{}\" is not allowed: it is not among the allowed media domains",
         host);
  if (!part_of(url, CURLUPART_USER).empty() || !part_of(url, CURLUPART_PASSWORD).empty())
    fail(ErrorCode::invalid_argument, "a URL with a user name or password is not fetched");
  return url;
}

void set_options(CURL* curl, const Url& url, Fetch& fetch, int64_t timeout_ms) {
  curl_easy_setopt(curl, CURLOPT_CURLU, url.get());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_PROXY, "");  // a proxy would hide the address
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_ms));
  curl_easy_setopt(
      curl, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(fetch.limits.max_bytes));
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "quern");
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_connect);
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &fetch);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &fetch);
}

[[noreturn]] void failed(CURLcode code, const Fetch& fetch, const std::string& host) {
  if (fetch.is_refused_address)
    fail(ErrorCode::invalid_argument,
         "\"{}\" is at an address that is not on the public internet; such are never fetched",
         host);
  if (fetch.is_too_large || code == CURLE_FILESIZE_EXCEEDED)
    fail(ErrorCode::exhausted, "\"{}\" sends more than {} bytes", host, fetch.limits.max_bytes);
  fail(ErrorCode::unavailable,
       "\"{}\" could not be fetched from: {}",
       host,
       curl_easy_strerror(code));
}

// One request. Returns where it redirects to, or nothing when the body is there.
std::string request(const Url& url, Fetch& fetch, int64_t timeout_ms) {
  const Curl curl(curl_easy_init());
  if (!curl) fail(ErrorCode::internal, "libcurl cannot start");
  set_options(curl.get(), url, fetch, timeout_ms);
  fetch.body.clear();
  const std::string host = part_of(url, CURLUPART_HOST);
  if (const CURLcode code = curl_easy_perform(curl.get()); code != CURLE_OK)
    failed(code, fetch, host);
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  char* redirect = nullptr;
  curl_easy_getinfo(curl.get(), CURLINFO_REDIRECT_URL, &redirect);
  if (redirect) return redirect;
  if (status >= 500) fail(ErrorCode::unavailable, "\"{}\" answered with status {}", host, status);
  if (status != 200)
    fail(ErrorCode::invalid_argument, "\"{}\" answered with status {}", host, status);
  return {};
}

}  // namespace

std::string fetch_url(const std::string& url, const FetchLimits& limits) {
  using Clock = std::chrono::steady_clock;
  static const CURLcode is_started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (is_started != CURLE_OK) fail(ErrorCode::internal, "libcurl cannot start");
  const auto deadline = Clock::now() + std::chrono::milliseconds(limits.timeout_ms);
  Fetch fetch{.limits = limits, .body = {}};
  std::string next = url;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    const Url parsed = parse_allowed(next, limits);
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) fail(ErrorCode::unavailable, "not fetched within {} ms", limits.timeout_ms);
    next = request(parsed, fetch, left);
    if (next.empty()) return std::move(fetch.body);
  }
  fail(ErrorCode::invalid_argument, "redirected more than {} times", kMaxRedirects);
}

}  // namespace quern

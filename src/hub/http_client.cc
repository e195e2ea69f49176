// SPDX-License-Identifier: Apache-2.0
#include "hub/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <optional>

#include "base/log.h"

namespace quern {
namespace {

constexpr int kMaxRedirects = 5;
constexpr int kTooManyRequests = 429, kRequestTimeout = 408;

struct CleanUp {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(char* text) const { curl_free(text); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Curl = std::unique_ptr<CURL, CleanUp>;
using Url = std::unique_ptr<CURLU, CleanUp>;
using Headers = std::unique_ptr<curl_slist, CleanUp>;

Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
    fail(ErrorCode::invalid_argument, "{:.200}: not a URL", text);
  return url;
}

std::string part_of(const Url& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
  return std::unique_ptr<char, CleanUp>(text).get();
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return out;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

int64_t number_of(std::string_view text) {
  int64_t value = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size() && value >= 0 ? value : -1;
}

std::string etag_of(std::string_view value) {
  if (value.starts_with("W/")) value.remove_prefix(2);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
    value = value.substr(1, value.size() - 2);
  return std::string(value);
}

void set_if_empty(std::string& out, std::string value) {
  if (out.empty()) out = std::move(value);
}

// "bytes 100-199/200" -> 100.
int64_t range_begin_of(std::string_view value) {
  const std::string_view kUnit = "bytes ";
  if (!value.starts_with(kUnit)) return -1;
  value.remove_prefix(kUnit.size());
  return number_of(value.substr(0, value.find('-')));
}

void take_header(HttpHead& head, std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (name == "etag") set_if_empty(head.etag, etag_of(value));
  if (name == "x-linked-etag") set_if_empty(head.linked_etag, etag_of(value));
  if (name == "x-repo-commit") set_if_empty(head.commit, std::string(value));
  if (name == "x-error-code") set_if_empty(head.error_code, std::string(value));
  if (name == "x-linked-size" && head.linked_size < 0) head.linked_size = number_of(value);
  if (name == "content-length") head.length = number_of(value);
  if (name == "content-range") head.range_begin = range_begin_of(value);
  if (name == "retry-after") head.retry_after_s = number_of(value);
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

}  // namespace

struct HttpClient::State {
  HttpOptions options;
  Curl curl;
  bool has_warned = false;
};

namespace {

// What the callbacks of one transfer need.
struct Transfer {
  CURL* curl = nullptr;
  HttpHead& head;
  const HttpSink& sink;
  const std::atomic<bool>* stop;
  bool has_begun = false;  // the sink knows the head
  std::exception_ptr failure;

  long status() const {
    long out = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out);
    return out;
  }
  bool is_good() const { return status() >= 200 && status() < 300; }
  // Runs what must not throw through libcurl.
  template <typename Body>
  bool guarded(Body&& body) {
    try {
      body();
      return true;
    } catch (...) {
      failure = std::current_exception();
      return false;
    }
  }
  void begin() {
    if (has_begun) return;
    has_begun = true;
    head.status = static_cast<int>(status());
    if (sink.on_head) sink.on_head(head);
  }
};

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/"))  // what belongs to one answer alone begins anew
    transfer.head.length = transfer.head.range_begin = transfer.head.retry_after_s = -1;
  return transfer.guarded([&] { take_header(transfer.head, line); }) ? line.size() : 0;
}

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (!transfer.is_good()) return size * count;  // a page that says what the status says
  const bool is_done = transfer.guarded([&] {
    transfer.begin();
    if (transfer.sink.on_body) transfer.sink.on_body(std::as_bytes(std::span(data, size * count)));
  });
  return is_done ? size * count : 0;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& transfer = *static_cast<const Transfer*>(user);
  return transfer.stop != nullptr && transfer.stop->load() ? 1 : 0;
}

Headers headers_of(const std::string& token) {
  if (token.empty()) return nullptr;
  return Headers(curl_slist_append(nullptr, ("Authorization: Bearer " + token).c_str()));
}

void set_limits(CURL* curl, const HttpOptions& options) {
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.timeout_s));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.timeout_s));
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "quern");
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

void set_request(CURL* curl, const FetchRequest& request, Transfer& transfer) {
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.is_head ? 1L : 0L);
  if (request.from > 0) curl_easy_setopt(curl, CURLOPT_RANGE, format("{}-", request.from).c_str());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
}

std::optional<std::string> redirect_of(CURL* curl) {
  char* url = nullptr;
  curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &url);
  return url == nullptr ? std::nullopt : std::optional<std::string>(url);
}

// One request, without redirects. Fills the transfer's head.
void perform(CURL* curl, const std::string& host, Transfer& transfer) {
  const CURLcode code = curl_easy_perform(curl);
  if (transfer.failure) std::rethrow_exception(transfer.failure);
  if (code == CURLE_ABORTED_BY_CALLBACK) fail(ErrorCode::cancelled, "ended before it was done");
  if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT)
    fail(ErrorCode::invalid_argument, "{}: {}", host, curl_easy_strerror(code));
  if (code == CURLE_PEER_FAILED_VERIFICATION)
    fail(ErrorCode::invalid_argument,
         "{}: its certificate does not prove who it is (install ca-certificates, or set the clock)",
         host);
  if (code != CURLE_OK) throw TransientError(format("{}: {}", host, curl_easy_strerror(code)), -1);
  transfer.head.status = static_cast<int>(transfer.status());
  const int status = transfer.head.status;
  if (status >= 500 || status == kTooManyRequests || status == kRequestTimeout)
    throw TransientError(format("{}: status {}", host, status), transfer.head.retry_after_s);
  if (transfer.is_good()) transfer.begin();  // an empty body calls nothing else
}

// The token for a URL, if it is for that host and cannot be read on the way.
std::string token_for(const std::string& url,
                      const std::string& first,
                      const HttpOptions& options) {
  if (options.token.empty() || !is_same_origin(url, first)) return {};
  const Url parsed = parse_url(url);
  const bool is_private =
      part_of(parsed, CURLUPART_SCHEME) == "https" || is_loopback(part_of(parsed, CURLUPART_HOST));
  return is_private ? options.token : std::string();
}

}  // namespace

HttpClient::HttpClient(HttpOptions options) : state_(std::make_unique<State>()) {
  static const CURLcode is_started = curl_global_init(CURL_GLOBAL_DEFAULT);
  state_->options = std::move(options);
  if (is_started == CURLE_OK) state_->curl.reset(curl_easy_init());
  if (!state_->curl) fail(ErrorCode::internal, "libcurl cannot start");
}

HttpClient::~HttpClient() = default;
HttpClient::HttpClient(HttpClient&&) noexcept = default;

HttpHead HttpClient::send(const FetchRequest& request, const HttpSink& sink) {
  CURL* curl = state_->curl.get();
  HttpHead head;
  std::string url = request.url;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    const Url parsed = parse_url(url);
    const std::string host = part_of(parsed, CURLUPART_HOST);
    const std::string token = token_for(url, request.url, state_->options);
    if (hop == 0 && token.empty() && !state_->options.token.empty() && !state_->has_warned) {
      log(LogLevel::warn, "{}: not https, so the token is not sent there", host);
      state_->has_warned = true;
    }
    Transfer transfer{curl, head, sink, state_->options.stop, false, nullptr};
    curl_easy_reset(curl);  // keeps connections
    set_limits(curl, state_->options);
    set_request(curl, request, transfer);
    const Headers headers = headers_of(token);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(curl, CURLOPT_CURLU, parsed.get());
    perform(curl, host, transfer);
    const std::optional<std::string> next = redirect_of(curl);
    if (!next) return head;
    if (url.starts_with("https:") && !next->starts_with("https:"))
      fail(ErrorCode::invalid_argument, "{}: redirects from https to {:.80}", host, *next);
    url = *next;
  }
  fail(ErrorCode::invalid_argument, "redirected more than {} times", kMaxRedirects);
}

bool is_same_origin(const std::string& a, const std::string& b) {
  const Url one = parse_url(a), other = parse_url(b);
  return std::ranges::all_of(
      std::initializer_list<CURLUPart>{CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT},
      [&](CURLUPart part) { return lower(part_of(one, part)) == lower(part_of(other, part)); });
}

std::string encode_path(std::string_view path, bool keeps_slashes) {
  std::string out;
  for (const char c : path) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
    if (is_plain || (keeps_slashes && c == '/'))
      out += c;
    else
      out += format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace quern

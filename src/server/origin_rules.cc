// SPDX-License-Identifier: Apache-2.0
#include "server/origin_rules.h"

#include <arpa/inet.h>

#include <algorithm>

namespace quern {
namespace {

constexpr std::string_view kAllMethods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
constexpr std::string_view kPreflightSeconds = "600";

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

// A list of header names as a browser sent it; empty if it is anything else.
std::string names_in(std::string_view list) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == ',' || c == ' ';
  };
  return list.size() <= 4096 && std::all_of(list.begin(), list.end(), is_plain) ? std::string(list)
                                                                                : std::string();
}

std::unique_ptr<HttpResponse> forbidden(std::string message, std::string code) {
  return std::make_unique<HttpResponse>(error_response(403, std::move(message), std::move(code)));
}

// What a browser writes into Origin: SCHEME://HOST or SCHEME://HOST:PORT, or "null".
bool is_origin(std::string_view text) {
  if (text == "null") return true;
  const size_t scheme = text.find("://");
  if (scheme == 0 || scheme == std::string_view::npos) return false;
  const std::string_view host = text.substr(scheme + 3);
  return !host.empty() && host.find_first_of("/?#@ ,\"'") == std::string_view::npos;
}

}  // namespace

void CorsOptions::validate() const {
  for (const std::string& origin : origins)
    if (origin != "*" && !is_origin(origin))
      fail(ErrorCode::invalid_argument,
           "--allowed-origins: {} is no web origin: expected \"*\" or what browsers send, a scheme "
           "and a host without a path, such as https://app.example",
           printable(origin, 128));
}

std::string host_name_of(std::string_view host) {
  if (const size_t scheme = host.find("://"); scheme != std::string_view::npos)
    host.remove_prefix(scheme + 3);
  if (host.starts_with('[')) return to_lower(host.substr(1, host.find(']') - 1));
  // More than one colon: a bare IPv6 address.
  if (std::count(host.begin(), host.end(), ':') == 1) host = host.substr(0, host.find(':'));
  while (host.ends_with('.')) host.remove_suffix(1);
  return to_lower(host);
}

bool is_loopback_host(std::string_view name) {
  if (name == "localhost" || name.ends_with(".localhost")) return true;
  const std::string text(name);
  in_addr v4{};
  // A name that only begins like an address ("127.evil.example") is none.
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

OriginRules::OriginRules(CorsOptions cors, bool guards_hosts, std::vector<std::string> hosts)
    : cors_(std::move(cors)), guards_hosts_(guards_hosts) {
  for (const std::string& host : hosts) hosts_.push_back(host_name_of(host));
}

bool OriginRules::allows_origin(std::string_view origin) const {
  return !origin.empty() && (has(cors_.origins, "*") || has(cors_.origins, origin));
}

bool OriginRules::is_own_host(std::string_view name) const {
  return is_loopback_host(name) || has(hosts_, "*") || has(hosts_, name);
}

std::unique_ptr<HttpResponse> OriginRules::preflight(const HttpRequest& head) const {
  const std::string_view method = head.header("access-control-request-method");
  if (cors_.origins.empty() || head.method != "OPTIONS" || method.empty() ||
      head.header("origin").empty())
    return nullptr;
  if (!allows_origin(head.header("origin")))
    return std::make_unique<HttpResponse>(
        error_response(400, "CORS: this origin is not allowed", "cors_origin"));
  if (!has(cors_.methods, "*") && !has(cors_.methods, method))
    return std::make_unique<HttpResponse>(
        error_response(400, "CORS: this method is not allowed", "cors_method"));
  auto response = std::make_unique<HttpResponse>();
  response->content_type = "text/plain; charset=utf-8";
  response->body = "OK";
  // A browser takes "*" literally where credentials are sent, so the list is spelt out.
  const bool takes_all = has(cors_.headers, "*");
  const std::string_view asked = head.header("access-control-request-headers");
  const std::string headers = takes_all ? names_in(asked) : joined(cors_.headers);
  response->headers = {{"Access-Control-Allow-Methods",
                        has(cors_.methods, "*") ? std::string(kAllMethods) : joined(cors_.methods)},
                       {"Access-Control-Max-Age", std::string(kPreflightSeconds)}};
  if (!headers.empty()) response->headers.emplace_back("Access-Control-Allow-Headers", headers);
  return response;
}

std::unique_ptr<HttpResponse> OriginRules::refuse(const HttpRequest& head) const {
  if (!guards_hosts_) return nullptr;
  const std::string_view host = head.header("host");
  // HTTP/1.0 needs no Host, and browsers do not speak it.
  if (!host.empty() && !is_own_host(host_name_of(host)))
    return forbidden(format("Host {} is not this machine's: without an API key this server answers "
                            "to localhost alone; allow the name with --allowed-hosts, or set a key",
                            printable(host, 128)),
                     "forbidden_host");
  const std::string_view origin = head.header("origin");
  if (!origin.empty() && !allows_origin(origin) && !is_own_host(host_name_of(origin)))
    return forbidden(format("requests from the web origin {} are not served; allow it with "
                            "--allowed-origins",
                            printable(origin, 128)),
                     "forbidden_origin");
  return nullptr;
}

Headers OriginRules::headers(const HttpRequest& request) const {
  const std::string_view origin = request.header("origin");
  if (cors_.origins.empty()) return {};
  // What an answer says depends on who asks: caches are to know.
  Headers out = {{"Vary", "Origin"}};
  if (!allows_origin(origin)) return out;
  const bool any = has(cors_.origins, "*") && !cors_.allow_credentials;
  out.emplace_back("Access-Control-Allow-Origin", any ? "*" : printable(origin, 1024));
  out.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  if (cors_.allow_credentials) out.emplace_back("Access-Control-Allow-Credentials", "true");
  return out;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "access_options.h"

#include <CLI/CLI.hpp>

#include "base/log.h"

namespace quern {
namespace {

// What the command line leaves of a list: ["a,b", "\"c\""] → a, b, c. It takes a list in brackets
// apart by itself, and keeps the quotes.
std::vector<std::string> parse_list(const std::vector<std::string>& given) {
  std::vector<std::string> out;
  for (const std::string& text : given) {
    for (std::string_view rest = text; !rest.empty();) {
      std::string_view item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(item.size() + 1, rest.size()));
      if (item.size() > 1 && item.front() == '"' && item.back() == '"')
        item = item.substr(1, item.size() - 2);
      if (!item.empty()) out.emplace_back(item);
    }
  }
  return out;
}

std::vector<std::string> list_or(const std::vector<std::string>& given,
                                 std::vector<std::string> fallback) {
  return given.empty() ? std::move(fallback) : parse_list(given);
}

void warn_of_openness(const ServerConfig& config, const ApiKeys& keys) {
  if (is_loopback_host(host_name_of(config.host))) return;
  if (!keys.is_required())
    log(LogLevel::warn,
        "listening on {} without --api-key: everyone who reaches this address may ask",
        config.host);
  else if (!config.tls.is_on())
    log(LogLevel::info,
        "listening on {} in the clear: keys can be read on the way; see --ssl-certfile, or put a "
        "proxy with TLS in front",
        config.host);
}

}  // namespace

ApiKeys AccessOptions::read_keys() const {
  ApiKeys out(keys);
  if (!key_file.empty()) out.add_file(key_file);
  return out;
}

void AccessOptions::apply(const ApiKeys& read,
                          ServerConfig& config,
                          ApiServerOptions& options) const {
  config.host = !host.empty() ? host : read.is_required() ? "0.0.0.0" : "127.0.0.1";
  config.tls = tls;
  tls.validate();
  options.cors = {.origins = parse_list(origins),
                  .methods = list_or(methods, {"*"}),
                  .headers = list_or(headers, {"*"}),
                  .allow_credentials = allow_credentials};
  options.cors.validate();
  options.allowed_hosts = parse_list(hosts);
  options.max_concurrency_per_key = max_concurrency_per_key;
  options.root_path = root_path;
  if (max_concurrency_per_key > 0 && !read.is_required())
    fail(ErrorCode::invalid_argument,
         "--max-concurrency-per-key needs keys: give --api-key or --api-key-file");
  warn_of_openness(config, read);
}

void add_access_options(CLI::App& command, AccessOptions& o) {
  constexpr const char* kGroup = "Access";
  const auto add = [&command](const char* flag, auto& value, const char* help) {
    return command.add_option(flag, value, help)->group(kGroup);
  };
  add("--host", o.host, "address to listen on (127.0.0.1; with a key 0.0.0.0)");
  add("--api-key",
      o.keys,
      "asked for on every route but /health, /ready, /ping, /version and the playground; repeat "
      "it, or separate "
      "with commas")
      ->delimiter(',');
  add("--api-key-file", o.key_file, "more keys, one a line: KEY [infer,metrics,admin]");
  add("--max-concurrency-per-key",
      o.max_concurrency_per_key,
      "requests that one key may have running; 0: any number")
      ->check(CLI::Range(0, 1 << 20));
  add("--ssl-certfile", o.tls.certfile, "serve HTTPS with this certificate chain (PEM)");
  add("--ssl-keyfile", o.tls.keyfile, "its key (PEM); else looked for in --ssl-certfile");
  add("--ssl-ca-certs",
      o.tls.ca_certs,
      "clients must show a certificate signed by one of these (PEM)");
  add("--allowed-origins",
      o.origins,
      "web origins that may ask (CORS): a JSON list, or repeated; \"*\": all (none)");
  add("--allowed-methods", o.methods, "methods they may use (all)");
  add("--allowed-headers", o.headers, "headers they may send (all)");
  command.add_flag("--allow-credentials", o.allow_credentials, "they may send cookies")
      ->group(kGroup);
  add("--allowed-hosts",
      o.hosts,
      "names beside localhost in the Host header of a server on a loopback address without keys; "
      "\"*\": all");
  add("--root-path", o.root_path, "what a proxy puts in front of every path");
}

}  // namespace quern

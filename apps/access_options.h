// SPDX-License-Identifier: Apache-2.0
// Flags of `quern serve` that say who is let in: keys, TLS, web origins.
#pragma once

#include <string>
#include <vector>

#include "server/api_server.h"

namespace CLI {
class App;
}

namespace quern {

struct AccessOptions {
  std::string host;  // empty: 127.0.0.1 without keys, every address with one
  std::vector<std::string> keys;
  std::string key_file;
  TlsOptions tls;
  // Lists as vLLM takes them: repeated, with commas, or one JSON list.
  std::vector<std::string> origins, methods, headers, hosts;
  bool allow_credentials = false;
  int max_concurrency_per_key = 0;
  std::string root_path;

  // The keys of both sources. Throws invalid_argument, not_found.
  ApiKeys read_keys() const;
  // Puts the rest where the server looks for it; warns of what leaves it open. Throws
  // invalid_argument for a list that is malformed, or a flag that needs another one.
  void apply(const ApiKeys& keys, ServerConfig& config, ApiServerOptions& options) const;
};

void add_access_options(CLI::App& command, AccessOptions& o);

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "server/ui.h"

namespace quern {
namespace {

// What a model writes is shown on this page: whatever that is, nothing in it may run, load or be
// sent anywhere. Scripts and styles are files of this server, and strings cannot become markup
// (trusted types). Pictures are those that the reader put in.
constexpr const char* kContentPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

Headers page_headers(const UiFile& file) {
  return {{"Content-Security-Policy", kContentPolicy},
          {"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Permissions-Policy", "camera=(self), microphone=(self), geolocation=()"},
          // Kept, but asked for each time: a new program has new pages.
          {"Cache-Control", "no-cache"},
          {"ETag", format("\"{}\"", file.hash)}};
}

const UiFile& file_named(std::string_view name) {
  for (const UiFile& file : ui_files())
    if (file.name == name) return file;
  fail(ErrorCode::not_found, "there is nothing at /ui/{}", printable(name, 100));
}

Task<> show(const UiFile& file, Exchange& exchange) {
  HttpResponse response;
  response.content_type = file.content_type;
  response.headers = page_headers(file);
  // A list of tags, or one with W/ in front, still names the hash.
  if (exchange.request().header("if-none-match").find(file.hash) != std::string_view::npos)
    response.status = 304;
  else
    response.body = file.bytes;
  co_await exchange.respond(std::move(response));
}

}  // namespace

void add_ui_routes(Router& router) {
  const RouteOptions open{.needs_key = false};
  router.add("GET", "/", open, [](Exchange& exchange) {
    return show(file_named("index.html"), exchange);
  });
  router.add("GET", "/ui/{file}", open, [](Exchange& exchange) {
    return show(file_named(exchange.request().parameters.at(0)), exchange);
  });
}

}  // namespace quern

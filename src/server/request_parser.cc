// SPDX-License-Identifier: Apache-2.0
// Beast's HTTP parser does the work; it refuses what could smuggle a request past a proxy (two
// lengths, length and chunks).
#include "server/request_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace quern {

namespace http = boost::beast::http;

struct RequestParser::State {
  http::request_parser<http::string_body> parser;
  size_t max_header_bytes;
  uint64_t max_body_bytes;
  std::optional<HttpResponse> error;
};

namespace {

HttpResponse response_to(const boost::beast::error_code& error,
                         size_t max_header_bytes,
                         uint64_t max_body_bytes) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return error_response(431,
                          format("the request head is larger than {} bytes", max_header_bytes),
                          "header_too_large");
  if (error == http::error::body_limit)
    return error_response(
        413, format("the request body is larger than {} bytes", max_body_bytes), "body_too_large");
  if (error == http::error::bad_version)
    return error_response(505, "only HTTP/1.0 and HTTP/1.1 are served", "bad_http_version");
  return error_response(
      400, format("not a well-formed HTTP request: {}", error.message()), "bad_http_request");
}

}  // namespace

RequestParser::RequestParser(size_t max_header_bytes, uint64_t max_body_bytes)
    : state_(std::make_unique<State>()) {
  state_->max_header_bytes = max_header_bytes;
  state_->max_body_bytes = max_body_bytes;
  state_->parser.header_limit(static_cast<std::uint32_t>(max_header_bytes));
  state_->parser.body_limit(max_body_bytes);
  state_->parser.eager(false);
}

RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;

size_t RequestParser::feed(std::string_view data) {
  auto& parser = state_->parser;
  size_t used = 0;
  const bool began_in_head = !parser.is_header_done();
  while (used < data.size() && !parser.is_done() && !state_->error) {
    boost::beast::error_code error;
    const size_t n = parser.put(boost::asio::buffer(data.data() + used, data.size() - used), error);
    used += n;
    if (error == http::error::need_more) {
      // The library bounds the head, but looks for the end of a chunk's header or of trailers as
      // long as it takes.
      if (parser.is_header_done() && data.size() - used > state_->max_header_bytes)
        state_->error = response_to(
            http::error::header_limit, state_->max_header_bytes, state_->max_body_bytes);
      break;
    }
    if (error) {
      state_->error = response_to(error, state_->max_header_bytes, state_->max_body_bytes);
      break;
    }
    if (began_in_head && parser.is_header_done()) break;
    if (n == 0) break;
  }
  return used;
}

bool RequestParser::is_head_done() const {
  return state_->parser.is_header_done();
}
bool RequestParser::is_done() const {
  return state_->parser.is_done();
}
const HttpResponse* RequestParser::error() const {
  return state_->error ? &*state_->error : nullptr;
}

HttpRequest RequestParser::take_head() {
  const auto& message = state_->parser.get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  for (const auto& field : message)
    request.headers.emplace_back(to_lower(field.name_string()), std::string(field.value()));
  return request;
}

std::string RequestParser::target() const {
  return std::string(state_->parser.get().target());
}
bool RequestParser::keeps_alive() const {
  return state_->parser.keep_alive();
}
bool RequestParser::is_http_1_1() const {
  return state_->parser.get().version() >= 11;
}

bool RequestParser::expects_continue() const {
  return to_lower(state_->parser.get()[http::field::expect]) == "100-continue";
}

std::optional<uint64_t> RequestParser::content_length() const {
  const auto length = state_->parser.content_length();
  return length ? std::optional<uint64_t>(*length) : std::nullopt;
}

bool RequestParser::is_chunked() const {
  return state_->parser.chunked();
}
std::string RequestParser::take_body() {
  return std::move(state_->parser.get().body());
}

}  // namespace quern

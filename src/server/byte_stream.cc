// SPDX-License-Identifier: Apache-2.0
#include "server/byte_stream.h"

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include "base/error.h"

namespace quern {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using boost::system::error_code;

namespace {

void need(const error_code& error, std::string_view flag, const std::string& path) {
  if (error) fail(ErrorCode::invalid_argument, "{} {}: {}", flag, path, error.message());
}

}  // namespace

std::shared_ptr<ssl::context> make_tls_context(const TlsOptions& options) {
  if (options.certfile.empty() && options.keyfile.empty() && options.ca_certs.empty())
    return nullptr;
  if (options.certfile.empty())
    fail(ErrorCode::invalid_argument, "TLS needs a certificate: give --ssl-certfile FILE");
  const std::string& keyfile = options.keyfile.empty() ? options.certfile : options.keyfile;
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);  // idle connections are to be small
  // Sessions are resumed by tickets: nothing of them is kept here.
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  error_code error;
  // Without this a key under a password would ask for it on the terminal.
  context->set_password_callback(
      [](size_t, ssl::context::password_purpose) { return std::string(); }, error);
  context->use_certificate_chain_file(options.certfile, error);
  need(error, "--ssl-certfile", options.certfile);
  context->use_private_key_file(keyfile, ssl::context::pem, error);
  // OpenSSL's own words for this are "key values mismatch".
  const int reason = ERR_GET_REASON(static_cast<unsigned long>(error.value()));
  if (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH)
    fail(ErrorCode::invalid_argument,
         "--ssl-keyfile {}: this key does not belong to the certificate in {}",
         keyfile,
         options.certfile);
  need(error, "--ssl-keyfile", keyfile);
  if (options.ca_certs.empty()) return context;
  context->load_verify_file(options.ca_certs, error);
  need(error, "--ssl-ca-certs", options.ca_certs);
  context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
  static constexpr unsigned char kSessions[] = "quern";
  SSL_CTX_set_session_id_context(native, kSessions, sizeof kSessions - 1);
  return context;
}

void TlsOptions::validate() const {
  make_tls_context(*this);
}

struct ByteStream::Tls {
  Tls(asio::ip::tcp::socket& socket, ssl::context& context) : stream(socket, context) {}
  ssl::stream<asio::ip::tcp::socket&> stream;
};

ByteStream::ByteStream(asio::ip::tcp::socket socket, ssl::context* tls)
    : socket_(std::move(socket)) {
  if (tls) tls_ = std::make_unique<Tls>(socket_, *tls);
}
ByteStream::~ByteStream() = default;

void ByteStream::handshake(Done done) {
  if (!tls_) return done({}, 0);
  tls_->stream.async_handshake(ssl::stream_base::server,
                               [done = std::move(done)](const error_code& e) { done(e, 0); });
}

void ByteStream::read_some(asio::mutable_buffer into, Done done) {
  if (tls_)
    tls_->stream.async_read_some(into, std::move(done));
  else
    socket_.async_read_some(into, std::move(done));
}

void ByteStream::write(asio::const_buffer bytes, Done done) {
  if (tls_)
    asio::async_write(tls_->stream, bytes, std::move(done));
  else
    asio::async_write(socket_, bytes, std::move(done));
}

void ByteStream::say_goodbye(Done done) {
  if (!tls_) return done({}, 0);
  tls_->stream.async_shutdown([done = std::move(done)](const error_code& e) { done(e, 0); });
}

}  // namespace quern

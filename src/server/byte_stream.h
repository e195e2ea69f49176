// SPDX-License-Identifier: Apache-2.0
// ByteStream: what a Peer reads from and writes to: a TCP socket, in the clear or under TLS.
// Private to this room: it shows the network library.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>

#include "server/server_config.h"

namespace boost::asio::ssl {
class context;
}

namespace quern {

// Certificate, key and rules of a server's TLS 1.2 and 1.3. Null if `options` name none. Throws
// invalid_argument naming the flag whose file is missing, malformed or does not fit the other.
std::shared_ptr<boost::asio::ssl::context> make_tls_context(const TlsOptions& options);

// At most one read and one write are under way at a time. Handlers run on the socket's executor.
class ByteStream {
 public:
  using Done = std::function<void(const boost::system::error_code&, size_t)>;

  // `tls` null: in the clear. Else it must outlive the stream.
  ByteStream(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context* tls);
  ~ByteStream();
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  // Below all encryption: for options, cancelling, closing.
  boost::asio::ip::tcp::socket& socket() { return socket_; }
  bool is_encrypted() const { return tls_ != nullptr; }

  // The server's part of the greeting; to be done before anything else where is_encrypted().
  void handshake(Done done);
  void read_some(boost::asio::mutable_buffer into, Done done);
  void write(boost::asio::const_buffer bytes, Done done);  // all of it
  // Says under TLS that nothing more will come, and waits for the same from the other side.
  void say_goodbye(Done done);

 private:
  struct Tls;
  boost::asio::ip::tcp::socket socket_;
  std::unique_ptr<Tls> tls_;
};

}  // namespace quern

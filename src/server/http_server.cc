// SPDX-License-Identifier: Apache-2.0
#include "server/http_server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <csignal>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/log.h"
#include "server/byte_stream.h"
#include "server/connection.h"
#include "server/peer.h"

namespace quern {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

void ServerConfig::validate() const {
  const auto need = [](bool holds, std::string_view what) {
    if (!holds) fail(ErrorCode::invalid_argument, "server: {}", what);
  };
  need(port >= 0 && port <= 65535, "port must be 0 to 65535");
  need(io_threads >= 1 && io_threads <= 64, "io_threads must be 1 to 64");
  need(preparation_threads >= 1 && preparation_threads <= 256,
       "preparation_threads must be 1 to 256");
  need(max_connections >= 1, "max_connections must be at least 1");
  need(max_header_bytes >= 1024 && max_header_bytes <= (size_t{16} << 20),
       "max_header_bytes must be 1 KiB to 16 MiB");
  need(max_body_bytes >= 1024, "max_body_bytes must be at least 1 KiB");
}

// Everything but `connections` and `stop_signal` belongs to the accepting strand.
struct HttpServer::State {
  State(ServerConfig settings, RequestHandler& handler, const Clock& clock)
      : config(std::move(settings)),
        tls(make_tls_context(config.tls)),
        pool(config.preparation_threads, config.max_preparation_queue),
        host{config, handler, pool, clock},
        acceptor(asio::make_strand(*io)),
        signals(acceptor.get_executor()),
        drain_timer(acceptor.get_executor()),
        work(io->get_executor()) {}

  void accept();
  void take(tcp::socket socket);
  void turn_away(tcp::socket socket);
  void ended(const std::shared_ptr<Connection>& connection);
  void stop(bool now);
  void finish_if_empty();
  void await_signal();
  std::vector<std::shared_ptr<Connection>> open_connections();

  const ServerConfig config;
  const std::shared_ptr<asio::ssl::context> tls;  // null: in the clear
  std::shared_ptr<asio::io_context> io = std::make_shared<asio::io_context>();
  PreparationPool pool;
  ConnectionHost host;
  tcp::acceptor acceptor;
  asio::signal_set signals;
  asio::steady_timer drain_timer;
  // A conversation may wait for the preparation pool alone, which the io threads do not see.
  asio::executor_work_guard<asio::io_context::executor_type> work;
  int port = 0;
  std::atomic<int> stop_signal = 0;
  std::mutex mutex;
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::vector<std::thread> threads;
};

std::vector<std::shared_ptr<Connection>> HttpServer::State::open_connections() {
  const std::lock_guard lock(mutex);
  return {connections.begin(), connections.end()};
}

void HttpServer::State::accept() {
  acceptor.async_accept(asio::make_strand(*io),
                        [this](const error_code& error, tcp::socket socket) {
                          if (host.is_stopping || error == asio::error::operation_aborted) return;
                          if (!error) take(std::move(socket));
                          if (error) {
                            // Out of descriptors, most likely: the waiting connection stays in the
                            // kernel's queue, so asking again at once would spin.
                            log(LogLevel::warn, "accept failed error={}", error.message());
                            drain_timer.expires_after(std::chrono::milliseconds(100));
                            drain_timer.async_wait([this](const error_code& e) {
                              if (!e) accept();
                            });
                            return;
                          }
                          accept();
                        });
}

void HttpServer::State::take(tcp::socket socket) {
  auto connection = std::shared_ptr<Connection>();
  {
    const std::lock_guard lock(mutex);
    if (static_cast<int>(connections.size()) < config.max_connections) {
      connection = std::make_shared<Connection>(
          host, std::make_shared<Peer>(io, std::move(socket), tls.get()));
      connections.insert(connection);
    }
  }
  if (!connection) return turn_away(std::move(socket));
  asio::post(connection->peer().executor(), [this, connection] {
    // Not from within the conversation: its frame must be at rest before it is destroyed.
    connection->start([this, weak = std::weak_ptr(connection)] {
      if (auto self = weak.lock())
        asio::post(self->peer().executor(), [this, self] { ended(self); });
    });
  });
}

// Too many connections: one short answer, without waiting for a request. None under TLS, where it
// would take a handshake first.
void HttpServer::State::turn_away(tcp::socket socket) {
  if (tls) return;
  const HttpResponse response =
      error_response(503, "too many connections; try again", "unavailable");
  auto bytes = std::make_shared<std::string>(
      format("HTTP/1.1 503 Service Unavailable\r\nContent-Type: "
             "application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
             response.body.size(),
             response.body));
  auto shared = std::make_shared<tcp::socket>(std::move(socket));
  asio::async_write(*shared, asio::buffer(*bytes), [bytes, shared](const error_code&, size_t) {});
}

void HttpServer::State::ended(const std::shared_ptr<Connection>& connection) {
  {
    const std::lock_guard lock(mutex);
    connections.erase(connection);
  }
  if (host.is_stopping) asio::post(acceptor.get_executor(), [this] { finish_if_empty(); });
}

void HttpServer::State::stop(bool now) {
  const bool is_first = !host.is_stopping.exchange(true);
  if (is_first) {
    error_code ignored;
    acceptor.close(ignored);
    if (!now) {
      drain_timer.expires_after(std::chrono::microseconds(config.drain_timeout_us));
      drain_timer.async_wait([this](const error_code& error) {
        if (!error) stop(true);
      });
    }
  }
  for (const auto& connection : open_connections())
    asio::post(connection->peer().executor(),
               [connection, ends_now = now || !is_first] { connection->stop(ends_now); });
  finish_if_empty();
}

// The last one out ends the signal set and the timer, and with them the io threads.
void HttpServer::State::finish_if_empty() {
  const std::lock_guard lock(mutex);
  if (!connections.empty()) return;
  error_code ignored;
  drain_timer.cancel();
  signals.cancel(ignored);
  work.reset();
}

void HttpServer::State::await_signal() {
  signals.async_wait([this](const error_code& error, int number) {
    if (error) return;
    log(LogLevel::info,
        "stopping signal={} open_connections={}",
        number,
        open_connections().size());
    int none = 0;
    stop_signal.compare_exchange_strong(none, number);
    await_signal();  // before stop(), which ends the wait where no connection is open
    stop(false);
  });
}

HttpServer::HttpServer(ServerConfig config, RequestHandler& handler, const Clock& clock) {
  config.validate();
  state_ = std::make_unique<State>(std::move(config), handler, clock);
}

HttpServer::~HttpServer() {
  if (state_->threads.empty()) return;
  asio::post(state_->acceptor.get_executor(), [this] { state_->stop(true); });
  wait();
}

void HttpServer::listen() {
  State& s = *state_;
  error_code error;
  tcp::resolver resolver(*s.io);
  const auto found =
      resolver.resolve(s.config.host, std::to_string(s.config.port), tcp::resolver::passive, error);
  if (error || found.empty())
    fail(ErrorCode::invalid_argument,
         "cannot listen on host {}: {}",
         s.config.host,
         error ? error.message() : "no such address");
  const tcp::endpoint endpoint = found.begin()->endpoint();
  s.acceptor.open(endpoint.protocol(), error);
  // A port that a previous run has just left may be taken at once.
  if (!error) s.acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) s.acceptor.bind(endpoint, error);
  if (!error) s.acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use)
    throw AddressInUse(format(
        "port {} on {} is in use; choose another with --port", s.config.port, s.config.host));
  if (error)
    fail(ErrorCode::invalid_argument,
         "cannot listen on {} port {}: {}",
         s.config.host,
         s.config.port,
         error.message());
  s.port = s.acceptor.local_endpoint().port();
}

int HttpServer::port() const {
  return state_->port;
}

void HttpServer::start() {
  State& s = *state_;
  if (s.config.handles_signals) {
    s.signals.add(SIGINT);
    s.signals.add(SIGTERM);
    s.await_signal();
  }
  s.accept();
  for (int i = 0; i < s.config.io_threads; ++i)
    s.threads.emplace_back([io = s.io] {
      for (;;) {
        try {
          io->run();
          return;
        } catch (const std::exception& e) {
          log(LogLevel::error, "io thread error={}", e.what());
        }
      }
    });
}

void HttpServer::stop() {
  asio::post(state_->acceptor.get_executor(), [this] { state_->stop(false); });
}

int HttpServer::wait() {
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
  return state_->stop_signal;
}

}  // namespace quern

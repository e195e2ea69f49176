// SPDX-License-Identifier: Apache-2.0
#include "server/peer.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>

#include "server/byte_stream.h"

namespace quern {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// An idle connection waits with a small buffer; it grows once a read has filled it.
constexpr size_t kIdleReadBytes = 2 << 10, kReadBytes = 32 << 10;
constexpr int64_t kLingerUs = 1'000'000;
constexpr size_t kLingerBytes = 8 << 20;

std::string name_of(const asio::ip::tcp::socket& socket) {
  error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return "?";
  const std::string address = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + address + "]" : address) + ":" +
         std::to_string(endpoint.port());
}

}  // namespace

Peer::Peer(std::shared_ptr<asio::io_context> io,
           asio::ip::tcp::socket socket,
           asio::ssl::context* tls)
    : io_(std::move(io)),
      stream_(std::make_unique<ByteStream>(std::move(socket), tls)),
      deadline_(executor()),
      pause_(executor()),
      name_(name_of(stream_->socket())),
      scratch_(kIdleReadBytes, '\0') {
  error_code ignored;
  stream_->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
}

Peer::~Peer() = default;

asio::any_io_executor Peer::executor() {
  return stream_->socket().get_executor();
}

// A timer's handler may already be on its way when it is cancelled: the number tells an old one.
void Peer::arm(int64_t timeout_us) {
  has_timed_out_ = false;
  deadline_.expires_after(std::chrono::microseconds(std::max<int64_t>(timeout_us, 0)));
  deadline_.async_wait(
      [self = shared_from_this(), number = ++deadline_number_](const error_code& error) {
        if (error || number != self->deadline_number_) return;
        self->has_timed_out_ = true;
        error_code ignored;
        self->stream_->socket().cancel(ignored);
      });
}

void Peer::disarm() {
  ++deadline_number_;
  deadline_.cancel();
}

Task<bool> Peer::handshake(int64_t timeout_us) {
  if (!stream_->is_encrypted()) co_return true;
  arm(timeout_us);
  auto greeting = suspend_with<bool>([this](auto resume) {
    stream_->handshake([self = shared_from_this(), resume](const error_code& error,
                                                           size_t) mutable { resume(!error); });
  });
  const bool is_done = co_await greeting;
  disarm();
  co_return is_done;
}

void Peer::rest() {
  scratch_.resize(kIdleReadBytes);
  scratch_.shrink_to_fit();
  buffer_.shrink_to_fit();
}

Task<bool> Peer::fill(int64_t timeout_us) {
  if (!is_open_) co_return false;
  arm(timeout_us);
  auto read = suspend_with<size_t>([this](auto resume) {
    stream_->read_some(asio::buffer(scratch_),
                       [self = shared_from_this(), resume](
                           const error_code& error, size_t n) mutable { resume(error ? 0 : n); });
  });
  const size_t n = co_await read;
  disarm();
  if (n == 0) {
    if (!has_timed_out_) left();
    co_return false;
  }
  buffer_.append(scratch_, 0, n);
  if (n == scratch_.size()) scratch_.resize(kReadBytes);
  co_return true;
}

Task<std::shared_ptr<Peer>> Peer::dial(int port) {
  asio::ip::tcp::socket socket(executor());
  const asio::ip::tcp::endpoint endpoint(asio::ip::address_v4::loopback(),
                                         static_cast<uint16_t>(port));
  auto connected = suspend_with<bool>([&socket, &endpoint](auto resume) {
    socket.async_connect(endpoint, [resume](const error_code& error) mutable { resume(!error); });
  });
  if (!co_await connected) co_return nullptr;
  co_return std::make_shared<Peer>(io_, std::move(socket));
}

void Peer::consume(size_t bytes) {
  consumed_ += bytes;
  if (consumed_ == buffer_.size()) {
    buffer_.clear();
    consumed_ = 0;
  } else if (consumed_ > (size_t{1} << 16)) {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
  }
}

Task<bool> Peer::write(std::string_view data, int64_t timeout_us) {
  if (!is_open_) co_return false;
  arm(timeout_us);
  auto write = suspend_with<bool>([this, data](auto resume) {
    stream_->write(asio::buffer(data),
                   [self = shared_from_this(), resume](const error_code& error, size_t) mutable {
                     resume(!error);
                   });
  });
  const bool is_written = co_await write;
  disarm();
  if (!is_written) close();
  co_return is_written;
}

void Peer::begin_watch(size_t max_bytes) {
  is_watching_ = true;
  is_woken_ = false;
  max_watched_ = max_bytes;
  watch();
}

void Peer::watch() {
  if (!is_open_ || !is_watching_ || is_reading_ahead_ || buffered().size() >= max_watched_) return;
  is_reading_ahead_ = true;
  stream_->read_some(asio::buffer(scratch_),
                     [self = shared_from_this()](const error_code& error, size_t n) {
                       self->is_reading_ahead_ = false;
                       if (!error) self->buffer_.append(self->scratch_, 0, n);
                       if (self->is_watching_ && error && error != asio::error::operation_aborted)
                         self->left();
                       // A deadline of a write also cancels the read ahead; go on unless that
                       // closed the connection.
                       if (self->is_watching_) self->watch();
                       if (auto ended = std::exchange(self->watch_ended_, nullptr)) ended(true);
                     });
}

Task<> Peer::end_watch() {
  is_watching_ = false;
  if (!is_reading_ahead_) co_return;
  auto ended = suspend_with<bool>([this](auto resume) {
    watch_ended_ = resume;
    error_code ignored;
    stream_->socket().cancel(ignored);
  });
  co_await ended;
}

void Peer::left() {
  is_open_ = false;
  wake();
}

void Peer::close() {
  if (!stream_->socket().is_open()) return;
  error_code ignored;
  stream_->socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  stream_->socket().close(ignored);
  left();
}

// Reads below TLS: whatever comes now is not for us.
Task<size_t> Peer::drop_some() {
  arm(kLingerUs);
  auto read = suspend_with<size_t>([this](auto resume) {
    stream_->socket().async_read_some(
        asio::buffer(scratch_),
        [self = shared_from_this(), resume](const error_code& error, size_t n) mutable {
          resume(error ? 0 : n);
        });
  });
  const size_t n = co_await read;
  disarm();
  co_return n;
}

Task<> Peer::say_goodbye() {
  arm(kLingerUs);
  auto goodbye = suspend_with<bool>([this](auto resume) {
    stream_->say_goodbye([self = shared_from_this(), resume](const error_code& error,
                                                             size_t) mutable { resume(!error); });
  });
  co_await goodbye;
  disarm();
}

Task<> Peer::close_gently() {
  if (is_open_) {
    if (stream_->is_encrypted()) co_await say_goodbye();
    error_code error;
    stream_->socket().shutdown(asio::ip::tcp::socket::shutdown_send, error);
    size_t dropped = 0;
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(kLingerUs);
    while (!error && dropped < kLingerBytes && std::chrono::steady_clock::now() < until) {
      const size_t n = co_await drop_some();
      if (n == 0) break;
      dropped += n;
    }
  }
  close();
}

void Peer::wake() {
  is_woken_ = true;
  if (auto waiter = std::exchange(waiter_, nullptr)) waiter(true);
}

Task<> Peer::wait(int64_t timeout_us) {
  if (!std::exchange(is_woken_, false) && is_open_) {
    auto woken = suspend_with<bool>([this, timeout_us](auto resume) {
      waiter_ = resume;
      ++pause_number_;
      if (timeout_us <= 0) return;
      pause_.expires_after(std::chrono::microseconds(timeout_us));
      pause_.async_wait(
          [self = shared_from_this(), number = pause_number_](const error_code& error) {
            if (!error && number == self->pause_number_) self->wake();
          });
    });
    co_await woken;
    ++pause_number_;
    pause_.cancel();
    is_woken_ = false;
  }
}

std::function<void()> Peer::waker() {
  return [weak = weak_from_this()] {
    const auto self = weak.lock();
    // One message on its way is enough for any number of events.
    if (!self || self->is_wake_posted_.exchange(true)) return;
    asio::post(self->executor(), [self] {
      self->is_wake_posted_ = false;
      self->wake();
    });
  };
}

}  // namespace quern

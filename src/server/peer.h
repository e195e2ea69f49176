// SPDX-License-Identifier: Apache-2.0
// Peer: one TCP connection on its strand: bytes in and out with deadlines, and notice of the other
// side's leaving. Private to this room: it shows the network library.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/task.h"

namespace boost::asio::ssl {
class context;
}

namespace quern {

class ByteStream;  // server/byte_stream.h

// All functions but waker() are for the strand. At most one fill, write or wait is under way at a
// time.
class Peer : public std::enable_shared_from_this<Peer> {
 public:
  // The io_context is kept alive: the last owner of a peer may be a thread that only meant to wake
  // it. `tls`: as in ByteStream.
  Peer(std::shared_ptr<boost::asio::io_context> io,
       boost::asio::ip::tcp::socket socket,
       boost::asio::ssl::context* tls = nullptr);
  ~Peer();

  // What goes before the first byte; nothing in the clear. False: there will be no conversation.
  Task<bool> handshake(int64_t timeout_us);
  // Reads at least one byte into the buffer. False: the other side left, or the time was over
  // (has_timed_out).
  Task<bool> fill(int64_t timeout_us);
  std::string_view buffered() const { return std::string_view(buffer_).substr(consumed_); }
  void consume(size_t bytes);
  bool has_timed_out() const { return has_timed_out_; }
  // Gives back what the last request needed, before a wait that may be long.
  void rest();
  // A further connection on this peer's strand, to a port of loopback; null: nobody is there.
  Task<std::shared_ptr<Peer>> dial(int port);

  // Writes all of it. False if the other side left or did not take it in time.
  Task<bool> write(std::string_view data, int64_t timeout_us);

  // From begin_watch to end_watch the peer reads ahead (up to max_bytes), so that a closed
  // connection is seen at once.
  void begin_watch(size_t max_bytes);
  Task<> end_watch();

  bool is_open() const { return is_open_; }
  // Until woken, closed, or (timeout_us > 0) the time is over.
  Task<> wait(int64_t timeout_us);
  std::function<void()> waker();

  // Ends the connection at once; what is under way fails.
  void close();
  // Ends it so that the other side can read what was sent although it is still sending itself: says
  // that nothing more will come, then reads and drops for a moment.
  Task<> close_gently();

  const std::string& name() const { return name_; }  // "127.0.0.1:51000"
  boost::asio::any_io_executor executor();

 private:
  void arm(int64_t timeout_us);
  void disarm();
  void watch();
  void left();
  Task<size_t> drop_some();
  Task<> say_goodbye();
  void wake();

  std::shared_ptr<boost::asio::io_context> io_;
  std::unique_ptr<ByteStream> stream_;
  boost::asio::steady_timer deadline_, pause_;
  uint64_t deadline_number_ = 0, pause_number_ = 0;
  std::string name_, buffer_, scratch_;
  size_t consumed_ = 0, max_watched_ = 0;
  std::atomic<bool> is_open_ = true;  // also read by the preparation pool
  bool has_timed_out_ = false;
  bool is_watching_ = false, is_reading_ahead_ = false, is_woken_ = false;
  std::atomic<bool> is_wake_posted_ = false;
  std::function<void(bool)> waiter_, watch_ended_;
};

}  // namespace quern

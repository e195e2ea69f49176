// SPDX-License-Identifier: Apache-2.0
// What a bench reads from a stream of server-sent events.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quern::bench {

// What has come since the last call of feed.
struct EventNews {
  bool has_text = false;    // an event that carries text (or ends an answer that had none)
  bool has_choice = false;  // any event of an answer
};

class EventReader {
 public:
  // Takes bytes as they arrive, cut anywhere. `on_event` is called with the news of each whole
  // event. An answer without the form of a stream is kept as text (an error's body).
  template <typename OnEvent>
  void feed(std::string_view bytes, const OnEvent& on_event) {
    for (const char c : bytes) {
      if (c != '\n') {
        line_ += c;
        continue;
      }
      if (const EventNews news = read_line(); news.has_choice) on_event(news);
    }
  }

  // The counts of the usage, -1 if none came.
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t completion_tokens() const { return completion_tokens_; }
  // What the server said of an error, or its body as it is (up to 500 bytes); empty if the stream
  // was in order.
  std::string error() const;

 private:
  EventNews read_line();

  std::string line_, other_, error_;
  int64_t prompt_tokens_ = -1, completion_tokens_ = -1;
  bool had_text_ = false;
};

}  // namespace quern::bench

// SPDX-License-Identifier: Apache-2.0
// Generation: all answers of one API request under way. One engine request per prompt, n choices
// each.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/service.h"
#include "api/stream_assembler.h"

namespace quern {

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

// What all prompts of an API request have in common beside their sampling.
struct SubmitOptions {
  int n = 1;  // choices of each prompt
  int priority = 0;
  std::string cache_salt;
};

class Generation {
 public:
  // `id` names the request in logs and must be unique among those running. `service` must outlive
  // this.
  // `make_parser`, if not empty, makes the parser of each choice.
  Generation(Service& service,
             std::string id,
             const TextOptions& text,
             ParserFactory make_parser = {});
  // Cancels what still runs.
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Queues one prompt; its choices get the next options.n indices. Throws what Service::submit
  // throws.
  void submit(std::shared_ptr<const Prompt> prompt,
              const SamplingParams& params,
              const SubmitOptions& options);
  // `notify` is called from the engine's thread whenever poll may have news.
  void set_notify(std::function<void()> notify);

  struct IndexedDelta {
    int index = 0;
    TextDelta delta;
  };
  // The deltas of all events that have arrived; does not wait.
  std::vector<IndexedDelta> poll();
  bool is_finished() const { return running_choices_ == 0; }
  void cancel();

  int choice_count() const { return static_cast<int>(choices_.size()); }
  Usage usage() const;               // of all answers so far
  Usage usage_of(int choice) const;  // of one, and its prompt

 private:
  struct Part {
    std::string id;
    std::shared_ptr<EventStream> stream;
    int first_choice = 0, n = 1;
    int64_t prompt_tokens = 0, cached_tokens = 0;
    bool is_closed = false;  // finished or cancelled
    std::shared_ptr<const Prompt> prompt;
    std::shared_ptr<const ScoredPrompt> scored;  // once it has come, if it was asked for
  };

  void drain(Part& part, std::vector<IndexedDelta>& out);
  void take(Part& part, TokenEvent& event, std::vector<IndexedDelta>& out);
  void push(const Part& part, TokenEvent& event, std::vector<IndexedDelta>& out);

  Service& service_;
  std::string id_;
  TextOptions text_;
  ParserFactory make_parser_;
  std::vector<Part> parts_;
  std::vector<std::unique_ptr<StreamAssembler>> choices_;
  std::vector<bool> has_begun_;  // per choice: a delta was given out
  int running_choices_ = 0;
};

}  // namespace quern

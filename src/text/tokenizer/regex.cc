// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/regex.h"

#include <oniguruma.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
// A search may go back this often at first; if that is not enough it starts anew with kLimitGrowth
// times as much.
constexpr size_t kFirstLimit = 1024;
constexpr size_t kLimitGrowth = 8;
// Together the repeated searches of one find_all may go back so often. An ordinary pattern needs
// under 10 per byte.
constexpr size_t kRetriesPerByte = 128;
constexpr size_t kRetriesBase = 1 << 20;
constexpr unsigned kMaxStackEntries = 1 << 22;

const OnigUChar* bytes_of(std::string_view text) {
  return reinterpret_cast<const OnigUChar*>(text.data());
}

std::string onig_message(int code, OnigErrorInfo* info) {
  OnigUChar buffer[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length =
      info ? onig_error_code_to_str(buffer, code, info) : onig_error_code_to_str(buffer, code);
  return {reinterpret_cast<const char*>(buffer), static_cast<size_t>(length)};
}

void initialize_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
  });
}

// One pass over a text: the match region, the limits, and what is left of the budget.
class Search {
 public:
  Search(regex_t* regex, std::string_view text)
      : regex_(regex), text_(text), region_(onig_region_new()), param_(onig_new_match_param()) {
    QUERN_CHECK(region_ && param_);
    budget_ = text.size() * kRetriesPerByte + kRetriesBase;
    onig_set_match_stack_limit_size_of_match_param(param_, kMaxStackEntries);
    set_limit(kFirstLimit);
  }
  ~Search() {
    onig_region_free(region_, 1);
    onig_free_match_param(param_);
  }
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  // The first match that starts at or after `from`. Throws exhausted.
  bool next(size_t from, const std::string& pattern, Span& found) {
    int result = search(from);
    if (is_limit(result)) {
      for (size_t limit = kFirstLimit * kLimitGrowth; is_limit(result) && limit <= budget_;
           limit *= kLimitGrowth) {
        set_limit(limit);
        result = search(from);
        budget_ -= limit;
      }
      set_limit(kFirstLimit);
    }
    if (result == ONIG_MISMATCH) return false;
    if (result < 0)
      fail(ErrorCode::exhausted,
           "pattern {:.200}: {} on a text of {} bytes, at byte {}; shorten the text",
           pattern,
           onig_message(result, nullptr),
           text_.size(),
           from);
    found = {static_cast<size_t>(region_->beg[0]), static_cast<size_t>(region_->end[0])};
    return true;
  }

 private:
  static bool is_limit(int result) {
    return result == ONIGERR_RETRY_LIMIT_IN_MATCH_OVER ||
           result == ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER;
  }
  void set_limit(size_t limit) {
    onig_set_retry_limit_in_match_of_match_param(param_, limit);
    onig_set_retry_limit_in_search_of_match_param(param_, limit);
  }
  int search(size_t from) {
    const OnigUChar* begin = bytes_of(text_);
    const OnigUChar* end = begin + text_.size();
    return onig_search_with_param(
        regex_, begin, end, begin + from, end, region_, ONIG_OPTION_NONE, param_);
  }

  regex_t* regex_;
  std::string_view text_;
  OnigRegion* region_;
  OnigMatchParam* param_;
  size_t budget_ = 0;
};

}  // namespace

struct Regex::Compiled {
  regex_t* regex = nullptr;
  ~Compiled() {
    if (regex) onig_free(regex);
  }
};

Regex::Regex(std::string pattern)
    : pattern_(std::move(pattern)), compiled_(std::make_unique<Compiled>()) {
  initialize_once();
  if (pattern_.size() > kMaxPatternBytes)
    fail(ErrorCode::invalid_argument,
         "pattern of {} bytes, the limit is {}",
         pattern_.size(),
         kMaxPatternBytes);
  OnigErrorInfo info;
  const OnigUChar* begin = bytes_of(pattern_);
  const int code = onig_new(&compiled_->regex,
                            begin,
                            begin + pattern_.size(),
                            ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8,
                            ONIG_SYNTAX_DEFAULT,
                            &info);
  if (code != ONIG_NORMAL) {
    compiled_->regex = nullptr;
    fail(ErrorCode::invalid_argument, "pattern {:.200}: {}", pattern_, onig_message(code, &info));
  }
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

std::vector<Span> Regex::find_all(std::string_view text) const {
  std::vector<Span> matches;
  Search search(compiled_->regex, text);
  size_t from = 0;
  Span found;
  while (from <= text.size() && search.next(from, pattern_, found)) {
    const bool repeats =
        found.begin == found.end && !matches.empty() && matches.back().end == found.end;
    from = found.end;
    if (!repeats) {
      matches.push_back(found);
      continue;
    }
    if (from == text.size()) break;
    from += utf8_step(text, from).length;
  }
  return matches;
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
// FieldOrigins: a dialect's request is translated to a chat request and then read as one; errors
// found there must call fields by the names that the client wrote.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "api/api_error.h"

namespace quern {

class FieldOrigins {
 public:
  // `translated` is a path in the chat request ("messages[2]"), `original` the same place in what
  // came ("input[1]"). What lies below follows.
  void add(std::string translated, std::string original) {
    names_.insert_or_assign(std::move(translated), std::move(original));
  }

  // `text` with every known path in it replaced; of several that fit, the longest counts.
  std::string renamed(std::string_view text) const;

  // Runs `work`; an Error that leaves it names the original fields.
  template <typename Work>
  auto naming(Work&& work) const {
    try {
      return std::forward<Work>(work)();
    } catch (const Error& error) {
      rethrow(error);
    }
  }

 private:
  [[noreturn]] void rethrow(const Error& error) const;

  std::map<std::string, std::string, std::less<>> names_;
};

}  // namespace quern

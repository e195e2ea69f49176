// SPDX-License-Identifier: Apache-2.0
#include "api/service.h"

#include "api/api_error.h"

namespace quern {
namespace {

[[noreturn]] void refuse_sound() {
  throw RequestError(ErrorCode::unsupported,
                     "file",
                     "this model does not hear: it writes down no recordings",
                     "unsupported");
}

}  // namespace

Sound Service::hear(std::string, int64_t) const {
  refuse_sound();
}

std::shared_ptr<const Prompt> Service::prepare_dictation(std::string) const {
  refuse_sound();
}

}  // namespace quern

// SPDX-License-Identifier: Apache-2.0
#include "exit_codes.h"

#include <array>
#include <new>

#include "server/http_server.h"
#include "weights/model_path.h"

namespace quern {

std::span<const ExitCodeMeaning> exit_code_table() {
  static constexpr std::array<ExitCodeMeaning, 9> kTable = {{
      {kExitDone, "done"},
      {kExitFailed, "the work failed, or what was compared differs"},
      {kExitUsage, "the command line is wrong"},
      {kExitModel, "the model or a file is missing, damaged or unsupported"},
      {kExitMemory, "does not fit: memory, or the disk that is written to"},
      {kExitOffline, "the model is not on this machine, and nothing is downloaded"},
      {kExitPortInUse, "the address to listen on is taken"},
      {kExitTemporary, "temporary: try again later"},
      {kExitInterrupted, "interrupted"},
  }};
  return kTable;
}

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return kExitUsage;
    case ErrorCode::not_found:
    case ErrorCode::unsupported:
    case ErrorCode::data_loss:
      return kExitModel;
    case ErrorCode::exhausted:
      return kExitMemory;
    case ErrorCode::unavailable:
      return kExitTemporary;
    case ErrorCode::cancelled:
      return kExitInterrupted;
    case ErrorCode::internal:
      return kExitFailed;
  }
  return kExitFailed;
}

int exit_code_of(const std::exception& error) {
  if (dynamic_cast<const ModelNotCached*>(&error) != nullptr) return kExitOffline;
  if (dynamic_cast<const AddressInUse*>(&error) != nullptr) return kExitPortInUse;
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return kExitMemory;
  if (const auto* known = dynamic_cast<const Error*>(&error)) return exit_code_of(known->code());
  return kExitFailed;
}

}  // namespace quern
